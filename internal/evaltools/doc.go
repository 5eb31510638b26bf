// Command evaltools counts how often a model calls the right tool with the right
// arguments, through Hearth and through llama-server (make eval-tools): 40
// questions, 8 tools, greedy, once with tool_choice auto and once with required.
// Both servers run the same file on the same number of threads, one after the
// other.
//
// An answer is right if it holds exactly one call, of the expected tool, whose
// arguments hold the expected values; letter case, white space and the difference
// between 5 and "5" do not count, further arguments do.
//
// It prints a table, and with -v each wrong answer. Four questions are
// asked at a time, each on a goroutine; it ends the servers that it started.
package main
