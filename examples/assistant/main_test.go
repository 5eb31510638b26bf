package main

import (
	"testing"

	"hearth/internal/example/exampletest"
	"hearth/internal/testkit"
)

func TestExample(t *testing.T) {
	node, modules := testkit.NPM(t)
	var p programs
	exampletest.Check(t, p.setup, p.flags, "-node", node, "-modules", modules, "-python", testkit.Python(t))
}
