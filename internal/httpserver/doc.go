// Package httpserver is what every HTTP request passes before a handler sees
// it: request id, access log, recovery from panics, the check of Host and
// Origin, limits on headers, bodies and time; and the serving and draining of
// the listeners that it is handed.
//
// It owns no route and knows nothing of models: the composition root adds the
// routes, and a middleware that says on whose behalf a request runs.
//
// Who may reach the server is decided here and fails closed: an address that
// other machines can reach is refused as long as there is no authentication,
// and a browser page of a foreign site is refused by its Origin, a rebound DNS
// name by its Host.
//
// Concurrency: everything is safe for concurrent use; [Server.Allow] swaps the
// lists of hosts and origins while requests run.
package httpserver
