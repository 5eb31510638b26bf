package files

import (
	"fmt"
	"path/filepath"
	"regexp"
	"time"

	"hearth/internal/config"
)

// Config is what may be reached.
type Config struct {
	// Roots are the folders.
	Roots []Root `yaml:"roots"`
	// Deny holds globs of what is withheld, in addition to [Secrets].
	Deny []string `yaml:"deny"`
	// AllowSecrets offers also what [Secrets] names.
	AllowSecrets bool `yaml:"allow_secrets"`
	// Hidden offers also names that begin with a dot.
	Hidden bool `yaml:"hidden"`
	// Untrusted says that strangers may have written what lies in the folders
	// (downloads, a mailbox): results are marked so, and after one, tools that write
	// or reach outside need an approval. Off: the folders are the operator's own.
	Untrusted bool `yaml:"untrusted"`
	// ReadBytes bounds the text of one read; 0: 256 KiB.
	ReadBytes config.Size `yaml:"read_bytes"`
	// WriteBytes bounds a file that is written or edited; 0: 16 MiB.
	WriteBytes config.Size `yaml:"write_bytes"`
	// ResourceBytes bounds a file that is read as a resource; 0: 16 MiB.
	ResourceBytes config.Size `yaml:"resource_bytes"`
	// Entries bounds one list; 0: 500.
	Entries int `yaml:"entries"`
	// Matches bounds the result of one search; 0: 100.
	Matches int `yaml:"matches"`
	// SearchFiles, SearchBytes and SearchTime bound what one search looks at; 0:
	// 20,000 files, 256 MiB, 10 s. It then says how far it came.
	SearchFiles int           `yaml:"search_files"`
	SearchBytes config.Size   `yaml:"search_bytes"`
	SearchTime  time.Duration `yaml:"search_time"`
}

// Root is one folder.
type Root struct {
	// Name is the first part of every path in it.
	Name string `yaml:"name"`
	// Path is where it is; a relative one counts from the configuration's folder.
	Path string `yaml:"path"`
	// Write lets files be written and moved, Delete lets them be deleted.
	Write  bool `yaml:"write"`
	Delete bool `yaml:"delete"`
}

// Secrets are the globs of what is withheld by default: files that hold keys and
// passwords, by the names that programs give them.
var Secrets = []string{
	".ssh", ".gnupg", ".aws", ".azure", ".kube", ".docker", ".config/gcloud", ".password-store",
	".env", ".env.*", "*.env", ".netrc", "_netrc", ".npmrc", ".pypirc", ".pgpass", ".my.cnf", ".git-credentials", ".htpasswd", ".vault-token",
	"*.pem", "*.key", "*.p12", "*.pfx", "*.jks", "*.keystore", "*.kdbx", "*.ppk", "*.ovpn",
	"id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*", "shadow", "gshadow",
}

var rootName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

// Check says which value cannot be used. It does not look at the folders.
func (c *Config) Check() error {
	if len(c.Roots) == 0 {
		return config.Invalid("roots", "must name at least one folder, such as {name: docs, path: /srv/docs}")
	}
	seen := map[string]bool{}
	for i, r := range c.Roots {
		at := func(field string) string { return fmt.Sprintf("roots[%d].%s", i, field) }
		switch {
		case !rootName.MatchString(r.Name):
			return config.Invalid(at("name"), "must be 1 to 63 letters, digits, dots, hyphens and underscores, and begin with a letter or a digit")
		case seen[r.Name]:
			return config.Invalid(at("name"), "%q is another folder's name, too: give each its own", r.Name)
		case r.Path == "":
			return config.Invalid(at("path"), "must name a folder")
		}
		seen[r.Name] = true
	}
	for i, g := range c.Deny {
		if _, err := compileGlob(g); err != nil {
			return config.Invalid(fmt.Sprintf("deny[%d]", i), "%v", err)
		}
	}
	for _, n := range []struct {
		field string
		value int64
		most  int64
	}{
		{"read_bytes", int64(c.ReadBytes), 64 << 20},
		{"write_bytes", int64(c.WriteBytes), 1 << 30},
		{"resource_bytes", int64(c.ResourceBytes), 1 << 30},
		{"entries", int64(c.Entries), 100_000},
		{"matches", int64(c.Matches), 100_000},
		{"search_files", int64(c.SearchFiles), 100_000_000},
		{"search_bytes", int64(c.SearchBytes), 1 << 50},
	} {
		if n.value < 0 || n.value > n.most {
			return config.Invalid(n.field, "must be between 0 (the default) and %d", n.most)
		}
	}
	if c.SearchTime < 0 || c.SearchTime > time.Hour {
		return config.Invalid("search_time", "must be between 0s (the default) and 1h")
	}
	return nil
}

// Resolve makes relative paths count from dir.
func (c *Config) Resolve(dir string) {
	for i, r := range c.Roots {
		if r.Path != "" && !filepath.IsAbs(r.Path) {
			c.Roots[i].Path = filepath.Join(dir, r.Path)
		}
	}
}

func (c Config) withDefaults() Config {
	size := func(v *config.Size, d config.Size) {
		if *v == 0 {
			*v = d
		}
	}
	count := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	size(&c.ReadBytes, 256<<10)
	size(&c.WriteBytes, 16<<20)
	size(&c.ResourceBytes, 16<<20)
	size(&c.SearchBytes, 256<<20)
	count(&c.Entries, 500)
	count(&c.Matches, 100)
	count(&c.SearchFiles, 20_000)
	if c.SearchTime == 0 {
		c.SearchTime = 10 * time.Second
	}
	return c
}
