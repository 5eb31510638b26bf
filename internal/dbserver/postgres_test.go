package dbserver

import (
	"os"
	"strings"
	"testing"
)

func TestPostgres(t *testing.T) {
	p, err := StartPostgres()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := p.SQL("postgres", "CREATE TABLE one (a int); INSERT INTO one VALUES (7); SELECT a FROM one"); err != nil || strings.TrimSpace(got) != "7" {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := p.SQL("postgres", "SELECT nothing"); err == nil || !strings.Contains(err.Error(), `column "nothing" does not exist`) {
		t.Errorf("a wrong statement: %v", err)
	}
	if dump, err := p.Dump(); err != nil || !strings.Contains(dump, "CREATE TABLE public.one") {
		t.Errorf("dump: %v\n%.500s", err, dump)
	}
	if err := p.Stop(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(p.Socket); !os.IsNotExist(err) {
		t.Errorf("the folder stays: %v", err)
	}
}
