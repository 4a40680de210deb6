package join

import (
	"errors"
	"fmt"
	"net/url"

	"github.com/postern-dev/postern"
	"github.com/postern-dev/postern/internal/pki"
)

// The bounds of what a join string says.
const (
	maxAddresses = 16
	maxURL       = 2 << 10
	maxToken     = 8 << 10 // PROMISES P-14
)

// check says what is wrong with j, whether it was read or is to be written.
func (j Join) check() error {
	if len(j.Addresses) == 0 && j.Web == "" {
		return errors.New("it names no address of the relay")
	}
	if len(j.Addresses) > maxAddresses {
		return fmt.Errorf("it names %d addresses, at most %d are allowed", len(j.Addresses), maxAddresses)
	}
	for _, a := range j.Addresses {
		if err := checkAddress(a); err != nil {
			return err
		}
	}
	if err := checkWeb(j.Web); err != nil {
		return err
	}
	if j.Pin != "" {
		if _, err := pki.ParsePin(j.Pin); err != nil {
			return err
		}
	}
	return checkToken(j.Token)
}

func checkAddress(a string) error {
	if _, err := postern.HostPortTarget(postern.TCP, a); err != nil {
		return fmt.Errorf("the address %.300q is not host:port: %w", a, err)
	}
	return nil
}

func checkWeb(web string) error {
	if web == "" {
		return nil
	}
	u, err := url.Parse(web)
	// A URL with a user is not written into the error: its password is a secret.
	if len(web) > maxURL || err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" || u.User != nil || u.Fragment != "" {
		return errors.New("the URL of the web listener is not https://host/ or http://host/")
	}
	return nil
}

func checkToken(token string) error {
	if token == "" {
		return errors.New("it has no token")
	}
	if len(token) > maxToken {
		return fmt.Errorf("its token has %d bytes, at most %d are allowed", len(token), maxToken)
	}
	for i := range len(token) {
		if c := token[i]; c <= ' ' || c >= 0x7f {
			return errors.New("its token has a character that tokens do not have")
		}
	}
	return nil
}
