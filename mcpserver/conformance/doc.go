// Package conformance holds Hearth's MCP server against the official conformance
// suite of the Model Context Protocol. All of it is tests: the tools, resources and
// prompts that the suite asks for are a connector in the test binary, registered in a
// router as any other, and never in the product.
package conformance
