package join_test

import (
	"encoding/base64"
	"fmt"
	"io/fs"
	"log/slog"
	"reflect"
	"strings"
	"testing"

	"github.com/postern-dev/postern/internal/join"
)

const secret = "eyJhbGciOiJFUzI1NiJ9.eyJyb2xlIjoiYWdlbnQifQ.c2ln"

func example() join.Join {
	return join.Join{
		Addresses: []string{"relay.example.com:4242", "[2001:db8::7]:4242", "192.0.2.1:443"},
		Web:       "https://relay.example.com/",
		Pin:       "sha256:" + strings.Repeat("5f", 32),
		Token:     secret,
	}
}

func encode(t testing.TB, j join.Join) string {
	t.Helper()
	s, err := j.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestWhatWasPackedIsReadAgain(t *testing.T) {
	for _, j := range []join.Join{
		example(),
		{Addresses: []string{"r:1"}, Token: "t"},
		{Web: "http://r:8080", Token: "t"},
		{Addresses: []string{"r:1"}, Token: strings.Repeat("x", 8<<10)},
	} {
		s := encode(t, j)
		for _, spelled := range []string{s, "  " + s + "\n", "\r\n" + s[:20] + "\n" + s[20:30] + " \t\r\n " + s[30:] + "\n\n"} {
			got, err := join.Parse(spelled)
			if err != nil || !reflect.DeepEqual(got, j) {
				t.Errorf("%v became %#v, %v", j, got, err)
			}
		}
		if !strings.HasPrefix(s, "postern-join-") || strings.ContainsAny(s, " +/=\n'\"$") {
			t.Errorf("the string needs quoting in a shell: %s", s)
		}
	}
}

// The string is a promise to other versions: this one stays readable.
func TestTheFirstVersionStaysReadable(t *testing.T) {
	const golden = "postern-join-AQA0owGBanJlbGF5OjQyNDIDWCBfX19fX19fX19fX19fX19fX19fX19fX19fX19fX19fXwRhdE_nIDk"
	j := join.Join{Addresses: []string{"relay:4242"}, Pin: "sha256:" + strings.Repeat("5f", 32), Token: "t"}
	if got, err := join.Parse(golden); err != nil || !reflect.DeepEqual(got, j) {
		t.Errorf("%s became %#v, %v", golden, got, err)
	}
	if got := encode(t, j); got != golden {
		t.Errorf("got %s, want %s", got, golden)
	}
}

func TestEveryCutIsNoticedAndCounted(t *testing.T) {
	s := encode(t, example())
	for n := range len(s) {
		_, err := join.Parse(s[:n])
		if err == nil {
			t.Fatalf("the first %d of %d characters were accepted", n, len(s))
		}
		if want := fmt.Sprintf("%d of its %d characters are missing", len(s)-n, len(s)); n > len("postern-join-")+4 && !strings.Contains(err.Error(), want) {
			t.Errorf("cut to %d: %v, want %s", n, err, want)
		}
	}
	for _, more := range []string{"A", "AA", "AAA", "AAAA"} {
		if _, err := join.Parse(s + more); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%d characters too many", len(more))) {
			t.Errorf("%s at the end: %v", more, err)
		}
	}
}

func TestEveryChangedCharacterIsNoticed(t *testing.T) {
	s := encode(t, example())
	for i := range s {
		b := []byte(s)
		if b[i] == 'A' {
			b[i] = 'B'
		} else {
			b[i] = 'A'
		}
		if _, err := join.Parse(string(b)); err == nil {
			t.Errorf("character %d was changed and nobody noticed", i)
		}
	}
}

func TestWhatIsNoJoinStringSaysSo(t *testing.T) {
	packed, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(encode(t, example()), "postern-join-"))
	if err != nil {
		t.Fatal(err)
	}
	packed[0] = 2
	for s, want := range map[string]string{
		"":                                "begins with postern-join-",
		secret:                            "begins with postern-join-",
		"/home/me/join.txt":               "@FILE",
		"postern-join-":                   "breaks off at its beginning",
		"postern-join-AQ":                 "breaks off at its beginning",
		"postern-join-A*AA":               "character that does not belong",
		strings.Repeat("postern-", 10000): "more than any has",
		"postern-join-" + base64.RawURLEncoding.EncodeToString(packed): "version 2",
	} {
		_, err := join.Parse(s)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, want %s", s, err, want)
			continue
		}
		if strings.Contains(err.Error(), secret) {
			t.Errorf("the error repeats what was pasted: %v", err)
		}
	}
}

func TestWhatCannotBeUsedIsNotPacked(t *testing.T) {
	for want, change := range map[string]func(*join.Join){
		"no address":               func(j *join.Join) { j.Addresses, j.Web = nil, "" },
		"17 addresses":             func(j *join.Join) { j.Addresses = strings.Split(strings.Repeat("r:1,", 16)+"r:1", ",") },
		"is not host:port":         func(j *join.Join) { j.Addresses[0] = "relay" },
		"not a port from 1":        func(j *join.Join) { j.Addresses[0] = "relay:0" },
		"has a character":          func(j *join.Join) { j.Addresses[0] = "re lay:1" },
		"URL of the web listener":  func(j *join.Join) { j.Web = "ftp://relay/" },
		"https://host/":            func(j *join.Join) { j.Web = "https://me:pw@relay/" },
		"64 hex digits":            func(j *join.Join) { j.Pin = "sha256:5f" },
		"no token":                 func(j *join.Join) { j.Token = "" },
		"tokens do not have":       func(j *join.Join) { j.Token = "a b" },
		"at most 8192 are allowed": func(j *join.Join) { j.Token = strings.Repeat("x", 8<<10+1) },
	} {
		j := example()
		change(&j)
		if s, err := j.Encode(); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "pw") {
			t.Errorf("got %s, %v; want %s", s, err, want)
		}
	}
}

// given is a secret of the configuration.
type given struct {
	text string
	err  error
}

func (s given) Read() (string, error) { return s.text, s.err }

func TestReadTakesASecret(t *testing.T) {
	if j, err := join.Read(given{text: "\n" + encode(t, example()) + "\r\n"}); err != nil || !reflect.DeepEqual(j, example()) {
		t.Errorf("%v, %v", j, err)
	}
	for _, bad := range []given{{text: "@file"}, {}, {text: encode(t, example()), err: fs.ErrNotExist}} {
		if j, err := join.Read(bad); err == nil || !strings.HasPrefix(err.Error(), "join: ") {
			t.Errorf("%v gave %v, %v", bad, j, err)
		}
	}
}

func TestTheTokenIsNotWrittenByAccident(t *testing.T) {
	j := example()
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("joined", "join", j)
	for _, s := range []string{fmt.Sprint(j), fmt.Sprintf("%+v %#v %s", j, j, &j), log.String()} {
		if strings.Contains(s, secret) || !strings.Contains(s, "relay.example.com:4242") {
			t.Error(s)
		}
	}
}

// FuzzParse: nothing makes it panic, and what it accepts can be packed and read again with the same result.
func FuzzParse(f *testing.F) {
	f.Add(encode(f, example()))
	f.Add(encode(f, join.Join{Web: "http://r", Token: "t"}))
	f.Add("postern-join-")
	f.Add("postern-join-AQAA")
	f.Fuzz(func(t *testing.T, s string) {
		j, err := join.Parse(s)
		if err != nil {
			return
		}
		again, err := join.Parse(encode(t, j))
		if err != nil || !reflect.DeepEqual(j, again) {
			t.Fatalf("%v became %v, %v", j, again, err)
		}
	})
}

// FuzzBody does the same behind the sum, which a fuzzer does not find.
func FuzzBody(f *testing.F) {
	f.Add([]byte{0xa2, 1, 0x81, 0x63, 'r', ':', '1', 4, 0x61, 't'})
	f.Add([]byte{0xbf, 0xff})
	f.Add([]byte{0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, body []byte) {
		if len(body) > 1<<16-1 {
			return
		}
		j, err := join.Parse(join.Seal(body))
		if err != nil {
			return
		}
		again, err := join.Parse(encode(t, j))
		if err != nil || !reflect.DeepEqual(j, again) {
			t.Fatalf("%v became %v, %v", j, again, err)
		}
	})
}
