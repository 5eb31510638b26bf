// Command database asks a PostgreSQL database through a model: a stock of articles,
// made for this run, and two tools that the configuration declares, each of them one
// SQL statement.
package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"

	"hearth/internal/dbserver"
	"hearth/internal/example"
)

func main() { example.Main("database", setup, nil) }

const configuration = `agent: {rounds: 2}         # a small model that is asked again calls again
connectors:
  - name: shop
    sqldb: {driver: postgres, dsn: %q}
    deny: ["*"]            # the model gets the two tools below, not the database
  - name: stock
    tools:
      - name: article
        description: The stock and the price of one article, by its name.
        effect: read
        input: {properties: {name: {type: string, description: "the article that is asked for", enum: [%s]}}, required: [name]}
        sql: {connector: shop, statement: "SELECT name, pieces, price FROM articles WHERE lower(name) = lower(:name)"}
      - name: largest
        description: The article of which most pieces are in stock.
        effect: read
        sql: {connector: shop, statement: "SELECT name, pieces FROM articles ORDER BY pieces DESC LIMIT 1"}
`

// articles are what there is a stock of.
var articles = []string{"chair", "table", "lamp", "shelf", "mirror", "carpet"}

// values are those of one run: pieces and prices of the articles, no two alike.
func values(r *rand.Rand) (pieces, prices []int) {
	all := r.Perm(900)[:2*len(articles)]
	for i := range all {
		all[i] += 100
	}
	return all[:len(articles)], all[len(articles):]
}

func setup(_ context.Context, s *example.Stage, r *rand.Rand) (*example.Scene, error) {
	db, err := dbserver.StartPostgres()
	if err != nil {
		return nil, err
	}
	s.Defer(db.Stop)
	if _, err := db.SQL("postgres", "CREATE DATABASE shop"); err != nil {
		return nil, err
	}
	pieces, prices := values(r)
	var rows []string
	most := 0
	for i, name := range articles {
		rows = append(rows, fmt.Sprintf("('%s', %d, %d)", name, pieces[i], prices[i]))
		if pieces[i] > pieces[most] {
			most = i
		}
	}
	if _, err := db.SQL("shop", "CREATE TABLE articles (name text PRIMARY KEY, pieces integer, price integer); INSERT INTO articles VALUES "+
		strings.Join(rows, ", ")+"; CREATE ROLE hearth LOGIN; GRANT SELECT ON articles TO hearth"); err != nil {
		return nil, err
	}
	lamp := r.IntN(len(articles))
	return &example.Scene{
		Configuration: fmt.Sprintf(configuration, db.DSN("hearth", "shop"), strings.Join(articles, ", ")),
		Instructions:  "You answer questions on the stock of a shop. Use the tools to find out. Answer in one short sentence.",
		Questions: []example.Question{
			{Text: "How many pieces of the article " + articles[lamp] + " are in stock?", Tools: []string{"stock__article"}, Answer: fmt.Sprint(pieces[lamp])},
			{Text: "Of which article are most pieces in stock?", Tools: []string{"stock__largest"}, Answer: articles[most]},
		},
	}, nil
}
