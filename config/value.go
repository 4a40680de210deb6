package config

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/postern-dev/postern"
)

// wrong is a value that cannot be read, and what to write instead.
type wrong struct{ text, hint string }

func (w *wrong) Error() string { return w.text }

// What to write in place of what cannot be read.
const (
	addrHint     = "write host:port, :port for every address, host:0 for a free port, or off"
	durationHint = "write a number with its unit, such as 500ms, 2s or 1m30s"
	proxyHint    = "write http://host:port or socks5://host:port, with USER:PASSWORD@ before the host where it wants that, or off"
	serviceHint  = "write NAME=URL with a URL like tcp://host:port, http://host:port or unix:///path"
)

// set reads values, as written in a file, a variable or a flag, into v. A list is replaced, never added to.
func set(v reflect.Value, values []string) error {
	switch p := v.Addr().Interface().(type) {
	case *[]string:
		*p = splitLists(values)
		return nil
	case *[]Service:
		return setServices(p, values)
	}
	if len(values) != 1 {
		return &wrong{fmt.Sprintf("takes one value, not %d", len(values)), "give it once"}
	}
	return setOne(v, strings.TrimSpace(values[0]))
}

func setOne(v reflect.Value, s string) (err error) {
	switch p := v.Addr().Interface().(type) {
	case *string:
		*p = s
	case *Secret:
		*p = Secret(s)
	case *ProxyURL:
		if *p = ProxyURL(s); p.Check() != nil {
			err = &wrong{p.Check().Error(), proxyHint}
		}
	case *bool:
		if *p, err = strconv.ParseBool(s); err != nil {
			err = &wrong{fmt.Sprintf("%q is not true or false", clip(s)), "write true or false"}
		}
	case *int:
		if *p, err = strconv.Atoi(s); err != nil || *p < 0 {
			err = &wrong{fmt.Sprintf("%q is not a number", clip(s)), "write digits, such as 2"}
		}
	case *time.Duration:
		if *p, err = time.ParseDuration(s); err != nil || *p < 0 {
			err = &wrong{fmt.Sprintf("%q is not a duration", clip(s)), durationHint}
		}
	case *Addr:
		if *p = Addr(s); p.Check() != nil {
			err = &wrong{p.Check().Error(), addrHint}
		}
	case *postern.PortRange:
		*p, err = parsePorts(s)
	default:
		err = fmt.Errorf("a key of type %s cannot be read", v.Type())
	}
	return err
}

// parsePorts reads "80" or "1000-2000"; "" is the zero range.
func parsePorts(s string) (postern.PortRange, error) {
	if s == "" {
		return postern.PortRange{}, nil
	}
	r, err := postern.ParsePortRange(s)
	if err != nil {
		return postern.PortRange{}, &wrong{fmt.Sprintf("%q is not a range of ports", clip(s)), "write LOW-HIGH, such as 20000-20999, or one port"}
	}
	return r, nil
}

// splitLists takes lists apart at commas. An item that is empty beside others stays, for Validate to complain of.
func splitLists(values []string) []string {
	var list []string
	for _, v := range values {
		if strings.TrimSpace(v) == "" {
			continue
		}
		for item := range strings.SplitSeq(v, ",") {
			list = append(list, strings.TrimSpace(item))
		}
	}
	return list
}

func setServices(p *[]Service, values []string) error {
	*p = nil
	for _, v := range values {
		s, err := ParseService(v)
		if err != nil {
			return err
		}
		*p = append(*p, s)
	}
	return nil
}

// ParseService reads NAME=URL. The error names the text and what to write.
func ParseService(s string) (Service, error) {
	name, target, found := strings.Cut(s, "=")
	if !found {
		return Service{}, &wrong{fmt.Sprintf("%q is not NAME=URL", clip(s)), serviceHint}
	}
	name, target = strings.TrimSpace(name), strings.TrimSpace(target)
	named, err := postern.ServiceTarget(name)
	if err != nil {
		return Service{}, &wrong{err.Error(), "choose a name of letters, digits and . _ -"}
	}
	if err := checkServiceURL(target); err != nil {
		return Service{}, &wrong{fmt.Sprintf("%s: %v", named.Host, err), serviceHint}
	}
	return Service{Name: named.Host, URL: target}, nil
}

func checkServiceURL(s string) error {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return fmt.Errorf("%q is not a URL", clip(s))
	case u.User != nil:
		return errors.New("the URL has a user or password, which services do not take")
	case u.RawQuery != "" || u.Fragment != "":
		return fmt.Errorf("%q has a query or fragment, which services do not take", clip(s))
	}
	switch u.Scheme {
	case "tcp", "udp":
		if u.Path != "" {
			return fmt.Errorf("%q has a path, which %s does not take", clip(s), u.Scheme)
		}
		_, err = postern.HostPortTarget(postern.Network(u.Scheme), u.Host)
	case "http":
		if u.Path != "" && u.Path != "/" {
			return fmt.Errorf("%q has a path, which http services do not take", clip(s))
		}
		_, err = postern.HostPortTarget(postern.TCP, withPort(u.Host, "80"))
	case "unix":
		_, err = postern.ParseTarget("unix:" + u.Path)
		if u.Host != "" {
			err = fmt.Errorf("%q needs three slashes before its path", clip(s))
		}
	case "file":
		if u.Host != "" || u.Path == "" {
			err = fmt.Errorf("%q needs three slashes before its path", clip(s))
		}
	default:
		err = fmt.Errorf("%q has a scheme that is not known", clip(s))
	}
	return err
}

// withPort adds a port to a host that has none.
func withPort(host, port string) string {
	if _, _, err := net.SplitHostPort(host); err == nil {
		return host
	}
	return net.JoinHostPort(strings.Trim(host, "[]"), port)
}

// format is the inverse of set: the values of v as they would be written. Secrets show as Secret.String does.
func format(v reflect.Value) []string {
	var s string
	switch x := v.Interface().(type) {
	case []string:
		return x
	case []Service:
		list := make([]string, len(x))
		for i, service := range x {
			list[i] = service.String()
		}
		return list
	case bool:
		s = strconv.FormatBool(x)
	case int:
		s = strconv.Itoa(x)
	case postern.PortRange:
		if x != (postern.PortRange{}) {
			s = x.String()
		}
	case fmt.Stringer: // Secret, ProxyURL and time.Duration
		s = x.String()
	default: // string and Addr
		s = v.String()
	}
	if s == "" {
		return nil
	}
	return []string{s}
}

// withoutUser hides user and password of a URL, whether it is well-formed or not.
func withoutUser(s string) string {
	scheme, rest, found := strings.Cut(s, "://")
	if at := strings.LastIndexByte(rest, '@'); found && at >= 0 {
		return scheme + "://(hidden)" + rest[at:]
	}
	return s
}

// clip readies text from outside for an error: shorter, and without the password of a URL.
func clip(s string) string { return postern.Clip(withoutUser(s)) }
