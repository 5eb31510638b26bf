// Package netguard makes connections for requests whose destination a stranger
// may have chosen: a page that a model asks for, a redirect, a link in a result.
// Unless a [Policy] says otherwise they reach the public internet only, and never
// the machine, the networks around it, or a cloud's metadata service.
//
// It owns three checks, and all of them hold on every hop of a redirect:
//
//   - the form of the URL ([Guard.CheckURL]): http or https, no user name, a host
//     that is a plain name or an address in its one canonical spelling;
//   - the name and the port, against the lists of the Policy;
//   - the address, at the moment when the socket connects to it. What a name
//     resolved to before does not count, so a name server that answers otherwise
//     the second time changes nothing.
//
// Around them stand the bounds of a response (header, body, time, redirects), no
// proxy from the environment, and credentials that do not follow a redirect to
// another origin.
//
// Which addresses are public comes from the registries of special-purpose
// addresses as the module code.dny.dev/ssrf has them; this package adds those
// that are public by number and internal by use.
//
// It knows nothing of tools or models. Errors about a destination wrap
// [ErrForbidden]; [Explain] puts any error of a request into words that hold no
// URL and no internal address.
//
// Concurrency: a Guard is safe for concurrent use. It keeps idle connections
// until Close.
package netguard
