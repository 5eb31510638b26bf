package sqldb

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// ErrRole says that the account at the server may do more than a transaction can
// hold back. The text around it names the right and the remedy.
var ErrRole = errors.New("the database account is refused")

// postgresRights lists what the account has, itself or through roles it is a
// member of, that reaches around a read-only transaction: one text each.
const postgresRights = `
SELECT 'is a superuser' FROM pg_catalog.pg_roles WHERE rolsuper AND rolname = session_user
UNION ALL
SELECT 'may create roles (CREATEROLE)' FROM pg_catalog.pg_roles WHERE rolcreaterole AND rolname = session_user
UNION ALL
SELECT 'may replicate (REPLICATION)' FROM pg_catalog.pg_roles WHERE rolreplication AND rolname = session_user
UNION ALL
SELECT 'is a member of ' || quote_ident(rolname) FROM pg_catalog.pg_roles
 WHERE rolname <> session_user AND pg_catalog.pg_has_role(session_user, oid, 'MEMBER')
   AND (rolsuper OR rolcreaterole OR rolreplication OR rolname IN (
    'pg_read_server_files', 'pg_write_server_files', 'pg_execute_server_program', 'pg_signal_backend',
    'pg_create_subscription', 'pg_checkpoint', 'pg_maintain'))
UNION ALL
SELECT DISTINCT 'may call ' || p.proname FROM pg_catalog.pg_proc p
 WHERE p.proname IN ('lo_import', 'lo_export', 'pg_read_file', 'pg_read_binary_file', 'pg_ls_dir', 'pg_stat_file',
    'pg_file_write', 'pg_file_unlink', 'pg_file_rename', 'pg_file_sync', 'dblink_connect_u', 'pg_reload_conf',
    'pg_rotate_logfile', 'pg_promote', 'pg_switch_wal', 'pg_create_restore_point', 'pg_stat_reset')
   AND pg_catalog.has_function_privilege(session_user, p.oid, 'EXECUTE')`

func checkPostgresRole(ctx context.Context, pc *pgconn.PgConn) error {
	results, err := pc.Exec(ctx, postgresRights).ReadAll()
	if err != nil {
		return fmt.Errorf("look at the rights of the account: %w", err)
	}
	var rights []string
	for _, r := range results {
		for _, row := range r.Rows {
			rights = append(rights, string(row[0]))
		}
	}
	if len(rights) == 0 {
		return nil
	}
	return refuseRole(rights, "CREATE ROLE hearth LOGIN; GRANT USAGE ON SCHEMA public TO hearth; GRANT SELECT ON ALL TABLES IN SCHEMA public TO hearth;")
}

func refuseRole(rights []string, remedy string) error {
	return fmt.Errorf("%w: it %s. Use one of its own with the rights it needs, such as: %s", ErrRole, strings.Join(rights, ", "), remedy)
}
