// Package webfetch is the connector that reads web pages: one tool, fetch, which
// gives the text of a page as markdown.
//
// It owns what lies between a URL and that text: the robots exclusion protocol
// (RFC 9309), a pause between two requests to one host, compressed bodies,
// character sets, the main part of a page and its markdown, and the parts in
// which a long text is given. Where connections may go is
// hearth/internal/netguard's, on every hop of a redirect.
//
// What a page says is untrusted: the result begins with where the text is from
// and that it is data, and text that a reader of the page would not see (hidden
// elements, invisible characters) is left out.
//
// A page that cannot be had is a *router.ToolError that says why. Nothing that a
// host does counts as a failure of the connector.
//
// Concurrency: a Connector is safe for concurrent use. Pages, robots.txt files
// and the times of requests are kept in memory, all bounded.
package webfetch
