//go:build !linux

package netwatch

import (
	"context"
	"errors"
)

// stirs says that this system is not listened to.
func stirs(context.Context, func()) error {
	return errors.New("there is no listener for changes of the network on this system")
}

// gateways are not looked for: the addresses of the interfaces have to do.
func gateways() ([]gateway, error) { return nil, nil }
