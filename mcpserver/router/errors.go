package router

import "errors"

// ErrNoResource says that there is no resource of that URI.
var ErrNoResource = errors.New("no such resource")
