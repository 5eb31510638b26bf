package sqldb

import (
	"path/filepath"
	"strings"
	"time"

	"hearth/internal/config"
)

// The drivers.
const (
	SQLite   = "sqlite"
	Postgres = "postgres"
	MySQL    = "mysql" // and MariaDB
)

// Defaults of what a Config leaves out.
const (
	DefaultMaxRows     = 200
	DefaultMaxBytes    = config.Size(128 << 10)
	DefaultTimeout     = 30 * time.Second
	DefaultLockTimeout = 3 * time.Second
	DefaultConnections = 4
)

// Config is one database.
type Config struct {
	// Driver is sqlite, postgres, mysql or mariadb.
	Driver string `yaml:"driver"`
	// Path is the file of a SQLite database.
	Path string `yaml:"path"`
	// Immutable says that a SQLite file does not change while Hearth runs, so that
	// it can be read from a folder where no lock file can be made.
	Immutable bool `yaml:"immutable"`
	// DSN says where a server is: env:NAME or file:PATH that holds it, or the DSN
	// itself where it has no password.
	DSN string `yaml:"dsn"`
	// Password is the password, where the DSN has none.
	Password config.Secret `yaml:"password"`
	// Write offers the tool execute.
	Write bool `yaml:"write"`
	// MaxRows bounds the rows of a result; 0: DefaultMaxRows.
	MaxRows int `yaml:"max_rows"`
	// MaxBytes bounds the values of a result; 0: DefaultMaxBytes.
	MaxBytes config.Size `yaml:"max_bytes"`
	// Timeout ends a statement; 0: DefaultTimeout.
	Timeout time.Duration `yaml:"timeout"`
	// LockTimeout ends the wait for a lock; 0: DefaultLockTimeout.
	LockTimeout time.Duration `yaml:"lock_timeout"`
	// Connections bounds the connections; 0: DefaultConnections.
	Connections int `yaml:"connections"`
}

// Check reports the first value that cannot be used as a *config.FieldError.
func (c *Config) Check() error {
	switch c.Driver {
	case SQLite:
		if c.Path == "" {
			return config.Invalid("path", "must name the database's file")
		}
		if c.DSN != "" || c.Password != "" {
			return config.Invalid("dsn", "is of servers: a SQLite database has a path only")
		}
	case Postgres, MySQL, "mariadb":
		if c.Path != "" || c.Immutable {
			return config.Invalid("path", "and immutable are of sqlite: a %s server has a dsn", c.Driver)
		}
		if err := c.checkDSN(); err != nil {
			return err
		}
	case "":
		return config.Invalid("driver", "is missing: use one of sqlite, postgres, mysql, mariadb")
	default:
		return config.Invalid("driver", "%q is unknown: use one of sqlite, postgres, mysql, mariadb", c.Driver)
	}
	if c.Immutable && c.Write {
		return config.Invalid("immutable", "says that the file never changes, and write that it may: leave one of them out")
	}
	return c.checkBounds()
}

func (c *Config) checkDSN() error {
	if c.DSN == "" {
		return config.Invalid("dsn", "is missing: name where it stands, as env:NAME or file:PATH")
	}
	if why := c.Password.Check(); why != "" {
		return config.Invalid("password", "%s", why)
	}
	if isReference(c.DSN) {
		if why := config.Secret(c.DSN).Check(); why != "" {
			return config.Invalid("dsn", "%s", why)
		}
		return nil
	}
	return checkPlainDSN(c.driver(), c.DSN)
}

func (c *Config) checkBounds() error {
	if c.MaxRows < 0 || c.MaxRows > 100_000 {
		return config.Invalid("max_rows", "must be between 1 and 100000, got %d", c.MaxRows)
	}
	if c.MaxBytes != 0 && (c.MaxBytes < 1<<10 || c.MaxBytes > 16<<20) {
		return config.Invalid("max_bytes", "must be between 1KiB and 16MiB, got %v", c.MaxBytes)
	}
	if c.Timeout != 0 && (c.Timeout < 10*time.Millisecond || c.Timeout > time.Hour) {
		return config.Invalid("timeout", "must be between 10ms and 1h, got %v", c.Timeout)
	}
	if c.LockTimeout != 0 && (c.LockTimeout < time.Millisecond || c.LockTimeout > time.Hour) {
		return config.Invalid("lock_timeout", "must be between 1ms and 1h, got %v", c.LockTimeout)
	}
	if c.Connections < 0 || c.Connections > 256 {
		return config.Invalid("connections", "must be between 1 and 256, got %d", c.Connections)
	}
	return nil
}

// Resolve makes the path, and the files that secrets name, relative to dir.
func (c *Config) Resolve(dir string) {
	if c.Path != "" && !filepath.IsAbs(c.Path) {
		c.Path = filepath.Join(dir, c.Path)
	}
	for _, s := range []*string{&c.DSN, (*string)(&c.Password)} {
		if p, ok := strings.CutPrefix(*s, "file:"); ok && p != "" && !filepath.IsAbs(p) {
			*s = "file:" + filepath.Join(dir, p)
		}
	}
}

// driver is the driver's one name.
func (c *Config) driver() string {
	if c.Driver == "mariadb" {
		return MySQL
	}
	return c.Driver
}

// withDefaults returns the Config with every bound set.
func (c Config) withDefaults() Config {
	setDefault(&c.MaxRows, DefaultMaxRows)
	setDefault(&c.MaxBytes, DefaultMaxBytes)
	setDefault(&c.Timeout, DefaultTimeout)
	setDefault(&c.LockTimeout, DefaultLockTimeout)
	setDefault(&c.Connections, DefaultConnections)
	return c
}

func setDefault[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}
