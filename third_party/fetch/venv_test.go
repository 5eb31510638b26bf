package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// wheelOf is a wheel that pip installs, with one module.
func wheelOf(t *testing.T, name, module string) (file string, raw []byte) {
	t.Helper()
	info := name + "-1.0.dist-info/"
	return name + "-1.0-py3-none-any.whl", zipped(t, []entry{
		{name: name + ".py", body: module, mode: 0o644},
		{name: info + "METADATA", body: "Metadata-Version: 2.1\nName: " + name + "\nVersion: 1.0\n", mode: 0o644},
		{name: info + "WHEEL", body: "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n", mode: 0o644},
		{name: info + "RECORD", body: "", mode: 0o644},
	})
}

// TestVenvFromFolder makes a real environment with the pip of this machine, from
// a folder as it is and as a copy of downloads/.
func TestVenvFromFolder(t *testing.T) {
	for _, under := range []string{"", "python"} {
		t.Run("folder/"+under, func(t *testing.T) {
			a, _ := testApp(t)
			a.thirdPartyDir = t.TempDir()
			file, raw := wheelOf(t, "hearthtestwheel", "answer = 42\n")
			requirements := filepath.Join(a.root, "tests", "requirements.txt")
			must(t, os.MkdirAll(filepath.Dir(requirements), 0o755))
			must(t, os.MkdirAll(filepath.Join(a.thirdPartyDir, under), 0o755))
			must(t, os.WriteFile(filepath.Join(a.thirdPartyDir, under, file), raw, 0o644))
			must(t, os.WriteFile(requirements, []byte("hearthtestwheel==1.0 --hash=sha256:"+sumOf(string(raw))+"\n"), 0o644))
			python, err := a.venv(context.Background(), "tests/requirements.txt")
			must(t, err)
			out, err := exec.Command(python, "-c", "import hearthtestwheel; print(hearthtestwheel.answer)").CombinedOutput()
			if err != nil || strings.TrimSpace(string(out)) != "42" {
				t.Errorf("the environment answers %q (%v)", out, err)
			}
			must(t, os.RemoveAll(a.thirdPartyDir))
			if again, err := a.venv(context.Background(), "tests/requirements.txt"); err != nil || again != python {
				t.Errorf("the second time: %s, %v", again, err)
			}

			// Another sum is another environment, and is refused.
			must(t, os.MkdirAll(filepath.Join(a.thirdPartyDir, under), 0o755))
			must(t, os.WriteFile(filepath.Join(a.thirdPartyDir, under, file), raw, 0o644))
			must(t, os.WriteFile(requirements, []byte("hearthtestwheel==1.0 --hash=sha256:"+sumOf("other")+"\n"), 0o644))
			if _, err := a.venv(context.Background(), "tests/requirements.txt"); err == nil {
				t.Error("a wheel with another checksum was installed")
			}
		})
	}
}
