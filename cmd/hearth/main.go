package main

import (
	"context"
	"os"
)

// version is set when the program is linked.
var version = "dev"

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
