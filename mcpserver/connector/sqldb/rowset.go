package sqldb

import "encoding/json"

// column is one column of a result.
type column struct {
	Name string `json:"name"`
	Type string `json:"type,omitempty"`
}

// rowset is what a statement gave.
type rowset struct {
	columns []column
	rows    [][]json.RawMessage
	// total is how many rows there are, shown or not; where atLeast is set, there
	// are more than that.
	total   int
	atLeast bool
	// affected is how many rows a statement that writes changed; -1: unknown.
	affected int64
}

// countRows is how many rows are counted behind the last one shown, and
// countBytes how many bytes of them, before a result is only "more than".
const (
	countRows  = 10_000
	countBytes = 16 << 20
)

// collector takes rows up to the bounds, then counts.
type collector struct {
	set                rowset
	maxRows, maxBytes  int
	bytes, countedSize int
	full               bool
}

func newCollector(s *statement) *collector {
	return &collector{maxRows: s.maxRows, maxBytes: s.maxBytes, set: rowset{affected: -1}}
}

// cell is how many bytes of one value are shown.
func (c *collector) cell() int { return max(c.maxBytes/4, 256) }

// wants says whether the next row's values are needed; where not, they are counted only.
func (c *collector) wants() bool { return !c.full && len(c.set.rows) < c.maxRows }

// add takes a row. More is false where no further row should be read.
func (c *collector) add(row []json.RawMessage) (more bool) {
	size := 0
	for _, v := range row {
		size += len(v) + 3
	}
	if c.bytes+size > c.maxBytes && len(c.set.rows) > 0 {
		c.full = true
		return c.skip(size)
	}
	c.bytes += size
	c.set.rows = append(c.set.rows, row)
	c.set.total++
	return true
}

// skip counts a row that is not shown.
func (c *collector) skip(size int) (more bool) {
	c.set.total++
	c.countedSize += size
	if c.set.total-len(c.set.rows) >= countRows || c.countedSize >= countBytes {
		c.set.atLeast = true
		return false
	}
	return true
}
