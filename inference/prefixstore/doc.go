// Package prefixstore keeps the cells of prompts that were computed before, outside
// of the KV cache: in RAM, and behind it in files.
//
// A prefix is kept in blocks of a fixed number of tokens, and one shorter block at
// its end. Blocks form a tree: prompts that begin alike hold their common blocks
// once. A block is found by a digest over all tokens before it and its own, and is
// taken only if its tokens are those that are asked for; at the end of what is asked
// for, those it begins with. Prefixes of one scope are
// never found by another. What the bytes of a block mean is the business of those
// who save and load them.
//
// Both tiers are bounded in bytes. What was used longest ago goes first, and always
// from the end of a prefix, so that what is left can be reached.
//
// # Concurrency
//
// A [Store] may be used by any goroutine. No call waits for a file: files are read
// and written by goroutines of the store, which call Options.Wake when something
// that was asked for is there.
package prefixstore
