package sqldb

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// mysqlValue is a value of the binary protocol as JSON.
func mysqlValue(kind string, v any, limit int) json.RawMessage {
	switch v := v.(type) {
	case nil:
		return null
	case int64:
		return intValue(v)
	case uint64:
		return numberText(strconv.FormatUint(v, 10), limit)
	case float32:
		return floatValue(float64(v), 32)
	case float64:
		return floatValue(v, 64)
	case []byte:
		return mysqlText(kind, string(v), limit)
	case string:
		return mysqlText(kind, v, limit)
	default:
		return textValue(fmt.Sprint(v), limit)
	}
}

func mysqlText(kind, s string, limit int) json.RawMessage {
	switch kind {
	case "BLOB", "TINYBLOB", "MEDIUMBLOB", "LONGBLOB", "BINARY", "VARBINARY", "GEOMETRY", "VECTOR":
		return bytesValue([]byte(s), limit)
	case "BIT":
		var n uint64
		for _, b := range []byte(s[:min(len(s), 8)]) {
			n = n<<8 | uint64(b)
		}
		return numberText(strconv.FormatUint(n, 10), limit)
	case "JSON":
		return jsonValue(s, limit)
	case "DATETIME":
		return timestampValue(s, limit)
	case "TIMESTAMP": // the session's time zone is UTC
		if strings.Contains(s, " ") && !strings.HasPrefix(s, "0000") {
			s += "+00"
		}
		return timestampValue(s, limit)
	}
	return textValue(s, limit)
}

func mysqlSize(values []any) (size int) {
	for _, v := range values {
		switch v := v.(type) {
		case []byte:
			size += len(v)
		case string:
			size += len(v)
		default:
			size += 8
		}
	}
	return size
}
