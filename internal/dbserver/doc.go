// Package dbserver runs database servers of this machine for tests and evaluations,
// each on a unix socket in a folder of its own. A server may be asked from any number
// of goroutines; it is stopped once.
package dbserver
