package main

import (
	"testing"

	"hearth/internal/example/exampletest"
)

func TestExample(t *testing.T) { exampletest.Check(t, setup, nil) }
