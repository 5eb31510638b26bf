package sqldb

import (
	"context"
	"fmt"
	"strings"
)

// mysqlHarmless are the rights over everything (ON *.*) that a transaction can
// hold back, or that only read. All others refuse the account: SUPER, FILE,
// CREATE USER, RELOAD, GRANT OPTION, and whatever a later version invents.
var mysqlHarmless = map[string]bool{
	"USAGE": true, "SELECT": true, "INSERT": true, "UPDATE": true, "DELETE": true, "CREATE": true, "DROP": true,
	"REFERENCES": true, "INDEX": true, "ALTER": true, "CREATE TEMPORARY TABLES": true, "LOCK TABLES": true,
	"EXECUTE": true, "CREATE VIEW": true, "SHOW VIEW": true, "CREATE ROUTINE": true, "ALTER ROUTINE": true,
	"EVENT": true, "TRIGGER": true, "SHOW DATABASES": true, "SHOW CREATE ROUTINE": true, "DELETE HISTORY": true,
	"DELETE VERSIONING ROWS": true,
}

func checkMySQLRole(ctx context.Context, s mysqlSession, maria bool) error {
	grants, err := s.column(ctx, "SHOW GRANTS")
	if err != nil {
		return fmt.Errorf("look at the rights of the account: %w", err)
	}
	// Roles that the account may take on count as well.
	var roles []string
	for _, g := range grants {
		if role, ok := grantedRole(g); ok {
			roles = append(roles, role)
		}
	}
	switch {
	case len(roles) == 0:
	case maria:
		more, err := mariaRoleGrants(ctx, s, roles)
		if err != nil {
			return fmt.Errorf("look at the rights of the roles: %w", err)
		}
		grants = append(grants, more...)
	default:
		more, err := s.column(ctx, "SHOW GRANTS FOR CURRENT_USER() USING "+strings.Join(roles, ", "))
		if err != nil {
			return fmt.Errorf("look at the rights of the roles: %w", err)
		}
		grants = append(grants, more...)
	}
	if rights := dangerousGrants(grants); len(rights) > 0 {
		return refuseRole(rights, "CREATE USER hearth IDENTIFIED BY '…'; GRANT SELECT, SHOW VIEW ON shop.* TO hearth;")
	}
	return nil
}

// mariaRoleGrants takes on each role to see its rights, as MariaDB shows those of
// the current role only, and ends in the role that it began in.
func mariaRoleGrants(ctx context.Context, s mysqlSession, roles []string) (grants []string, err error) {
	current, err := s.column(ctx, "SELECT coalesce(concat('`', replace(CURRENT_ROLE(), '`', '``'), '`'), 'NONE')")
	if err != nil {
		return nil, err
	}
	for _, r := range roles {
		if err := s.exec(ctx, "SET ROLE "+r); err != nil {
			return nil, err
		}
		more, err := s.column(ctx, "SHOW GRANTS FOR CURRENT_ROLE")
		if err != nil {
			return nil, err
		}
		grants = append(grants, more...)
	}
	return grants, s.exec(ctx, "SET ROLE "+current[0])
}

// grantedRole reads GRANT `role` TO `user`@`host`. The name is the server's own
// quoted spelling of it.
func grantedRole(grant string) (string, bool) {
	rest, ok := strings.CutPrefix(grant, "GRANT ")
	if !ok || strings.Contains(rest, " ON ") {
		return "", false
	}
	role, _, ok := strings.Cut(rest, " TO ")
	return role, ok && strings.HasPrefix(role, "`")
}

// dangerousGrants lists what in the lines of SHOW GRANTS a transaction cannot
// hold back.
func dangerousGrants(grants []string) (rights []string) {
	for _, g := range grants {
		rest, ok := strings.CutPrefix(g, "GRANT ")
		privileges, on, found := strings.Cut(rest, " ON ")
		if !ok || !found {
			continue
		}
		if strings.Contains(on, "WITH GRANT OPTION") || strings.HasPrefix(privileges, "PROXY") {
			rights = append(rights, "may pass its rights on (GRANT OPTION)")
		}
		global, system := strings.HasPrefix(on, "*.* "), strings.HasPrefix(strings.ToLower(on), "`mysql`.")
		if !global && !system {
			continue
		}
		for p := range strings.SplitSeq(privileges, ", ") {
			switch {
			case global && !mysqlHarmless[p]:
				rights = append(rights, "has the right "+p+" on everything")
			case system && p != "SELECT" && p != "USAGE" && p != "EXECUTE":
				rights = append(rights, "has the right "+p+" on the server's own tables")
			}
		}
	}
	return rights
}
