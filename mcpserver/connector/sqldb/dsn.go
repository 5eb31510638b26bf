package sqldb

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5/pgxpool"

	"hearth/internal/config"
)

// errDSN says that a DSN cannot be read. The parsers' own errors may quote it,
// password and all, so none of them is passed on.
var errDSN = errors.New("the dsn cannot be read")

func isReference(dsn string) bool {
	return strings.HasPrefix(dsn, "env:") || strings.HasPrefix(dsn, "file:")
}

// checkPlainDSN judges a DSN that stands in the configuration.
func checkPlainDSN(driver, dsn string) error {
	var password, example string
	switch driver {
	case Postgres:
		example = "postgres://reader@db.example/shop"
		cfg, err := parsePostgres(dsn)
		if err != nil {
			return config.Invalid("dsn", "cannot be read: write it like %s", example)
		}
		// A password from the environment or a password file is not in the DSN.
		if strings.Contains(strings.ToLower(dsn), "password") || userinfoHasPassword(dsn) {
			password = cfg.ConnConfig.Password
		}
	case MySQL:
		example = "mysql://reader@db.example:3306/shop"
		cfg, err := parseMySQL(dsn)
		if err != nil {
			return config.Invalid("dsn", "cannot be read: write it like %s", example)
		}
		password = cfg.Passwd
	}
	if password != "" {
		return config.Invalid("dsn", "holds a password, and secrets do not stand in the configuration: write dsn: env:NAME with the whole DSN in that variable, or %s with password: env:NAME", example)
	}
	return nil
}

func userinfoHasPassword(dsn string) bool {
	u, err := url.Parse(dsn)
	if err != nil || u.User == nil {
		return false
	}
	_, has := u.User.Password()
	return has
}

// readDSN returns the DSN and the password beside it.
func (c *Config) readDSN() (dsn, password string, err error) {
	dsn = c.DSN
	if isReference(dsn) {
		if dsn, err = config.Secret(dsn).Value(); err != nil {
			return "", "", fmt.Errorf("read the dsn: %w", err)
		}
	}
	if password, err = c.Password.Value(); err != nil {
		return "", "", fmt.Errorf("read the password: %w", err)
	}
	return dsn, password, nil
}

func parsePostgres(dsn string) (*pgxpool.Config, error) {
	cfg, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return nil, errDSN
	}
	return cfg, nil
}

// parseMySQL reads both forms that are in use: the driver's own
// (user@tcp(host:port)/name) and a URL (mysql://user@host:port/name).
func parseMySQL(dsn string) (*mysql.Config, error) {
	scheme, _, isURL := strings.Cut(dsn, "://")
	if !isURL || strings.Contains(scheme, "@") {
		cfg, err := mysql.ParseDSN(dsn)
		if err != nil {
			return nil, errDSN
		}
		return safeMySQL(cfg)
	}
	u, err := url.Parse(dsn)
	if err != nil || (u.Scheme != MySQL && u.Scheme != "mariadb") {
		return nil, errDSN
	}
	cfg := mysql.NewConfig()
	cfg.Net, cfg.Addr = "tcp", u.Host
	if u.Port() == "" {
		cfg.Addr = net.JoinHostPort(u.Hostname(), "3306")
	}
	cfg.User = u.User.Username()
	cfg.Passwd, _ = u.User.Password()
	cfg.DBName = strings.TrimPrefix(u.Path, "/")
	for key, values := range u.Query() {
		switch key {
		case "socket":
			cfg.Net, cfg.Addr = "unix", values[0]
		case "tls":
			cfg.TLSConfig = values[0]
		default:
			return nil, errDSN
		}
	}
	return safeMySQL(cfg)
}

// safeMySQL takes back what a DSN may switch on and what would undo a rule here.
func safeMySQL(cfg *mysql.Config) (*mysql.Config, error) {
	switch cfg.TLSConfig {
	case "", "false", "true", "preferred":
	case "skip-verify":
		cfg.TLSConfig, cfg.TLS = "", &tls.Config{InsecureSkipVerify: true}
	default:
		return nil, errDSN
	}
	cfg.MultiStatements = false
	cfg.InterpolateParams = false
	cfg.AllowAllFiles = false
	cfg.AllowOldPasswords = false
	cfg.AllowCleartextPasswords = false
	cfg.ParseTime = false
	cfg.ColumnsWithAlias = false
	cfg.Params = nil
	cfg.Logger = &mysql.NopLogger{}
	return cfg, nil
}
