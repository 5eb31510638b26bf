// Command testreport reads the output of go test -json and prints of it what a
// person reads: one line for each package, and all that a failed test said. It
// writes the skipped tests with their reasons to the file -skipped names, and
// exits with 1 where a test failed or the input broke off.
//
//	go test -json ./... | go run ./internal/testreport -skipped FILE
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
)

// event is one line of go test -json, as far as it is used here.
type event struct {
	Action, Package, Test, Output string
	ImportPath                    string // of a build's output
}

// errFailed says that a test or a build failed; the report shows which.
var errFailed = errors.New("tests failed")

// errNone says that there was nothing to report on.
var errNone = errors.New("no test ran")

func main() {
	skipped := flag.String("skipped", "", "file for the skipped tests and their reasons")
	flag.Parse()
	if err := run(os.Stdin, os.Stdout, *skipped); err != nil {
		fmt.Fprintln(os.Stderr, "testreport: "+err.Error())
		os.Exit(1)
	}
}

func run(in io.Reader, out io.Writer, skippedFile string) error {
	skipped, err := report(in, out)
	if skippedFile != "" {
		text := ""
		for _, line := range skipped {
			text += line + "\n"
		}
		err = errors.Join(err, os.WriteFile(skippedFile, []byte(text), 0o644))
	}
	return err
}

// report copies what matters from in to out and returns the skipped tests.
func report(in io.Reader, out io.Writer) (skipped []string, err error) {
	said := map[string]string{} // by package and test, until the test's end
	failedIn := map[string]bool{}
	failed, passed := 0, 0
	lines := bufio.NewReader(in)
	for {
		line, readErr := lines.ReadString('\n')
		if strings.TrimSpace(line) != "" {
			var e event
			if json.Unmarshal([]byte(line), &e) != nil {
				fmt.Fprint(out, line) // go test itself, not a test
			} else {
				key := e.Package + "\x00" + e.Test
				switch e.Action {
				case "build-output":
					fmt.Fprint(out, e.Output)
				case "output":
					said[key] += e.Output
					if e.Test == "" && packageLine(e.Output) {
						fmt.Fprint(out, e.Output)
						delete(said, key)
					}
				case "fail", "build-fail":
					// A package fails with its tests, and counts where none of them did.
					if e.Test != "" || !failedIn[e.Package] {
						failed++
					}
					failedIn[e.Package] = true
					fmt.Fprint(out, said[key])
					delete(said, key)
				case "skip":
					if e.Test != "" {
						skipped = append(skipped, "SKIPPED "+e.Package+" "+e.Test+": "+reason(said[key]))
					}
					delete(said, key)
				case "pass":
					if e.Test != "" {
						passed++
					}
					delete(said, key)
				}
			}
		}
		if errors.Is(readErr, io.EOF) {
			break
		}
		if readErr != nil {
			return skipped, readErr
		}
	}
	fmt.Fprintf(out, "%d passed, %d failed, %d skipped\n", passed, failed, len(skipped))
	if failed > 0 {
		return skipped, errFailed
	}
	if passed == 0 {
		return skipped, errNone
	}
	return skipped, nil
}

// packageLine knows the lines that sum a package up.
func packageLine(s string) bool {
	return strings.HasPrefix(s, "ok  \t") || strings.HasPrefix(s, "FAIL\t") || strings.HasPrefix(s, "?   \t")
}

// reason takes the words of t.Skip out of a skipped test's output, which stand
// behind "    file.go:12: ".
func reason(output string) string {
	var words []string
	for line := range strings.Lines(output) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "===") || strings.HasPrefix(line, "---") {
			continue
		}
		if place, rest, ok := strings.Cut(line, ": "); ok && strings.Contains(place, ".go:") {
			line = rest
		}
		words = append(words, line)
	}
	return strings.Join(words, " ")
}
