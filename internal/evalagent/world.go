package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// The kinds of questions, which are the names of the connectors as well.
const (
	kindDatabase = "shop"
	kindWeb      = "web"
	kindFolder   = "folder"
)

var kinds = []string{kindDatabase, kindWeb, kindFolder}

// perKind is how many questions of each kind a seed has.
const perKind = 10

// question has one value for its answer.
type question struct {
	Kind string `json:"kind"`
	Text string `json:"question"`
	Want string `json:"want"`
	// others are values that would answer another question.
	others []string
}

// right reports whether an answer holds the value and none of the others.
func (q *question) right(answer string) bool {
	return holds(answer, q.Want) && !slices.ContainsFunc(q.others, func(o string) bool { return holds(answer, o) })
}

// holds reports whether a word of text is value. A comma between digits does not
// count.
func holds(text, value string) bool {
	plain := strings.Builder{}
	digit := func(i int) bool { return i >= 0 && i < len(text) && text[i] >= '0' && text[i] <= '9' }
	for i := range len(text) {
		if text[i] != ',' || !digit(i-1) || !digit(i+1) {
			plain.WriteByte(text[i])
		}
	}
	words := strings.FieldsFunc(strings.ToLower(plain.String()), func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9')
	})
	return slices.Contains(words, strings.ToLower(value))
}

// world is the data of a run and the questions about it.
type world struct {
	sql       string            // makes the tables
	pages     map[string]string // HTML by path
	files     map[string]string // text by name
	questions []question
}

// pageAt stands for the address of the web server until that is known.
const pageAt = "http://PAGES"

// random draws values of which none is drawn twice.
type random struct {
	*rand.Rand
	seen map[string]bool
}

func (r *random) fresh(draw func() string) string {
	for {
		if s := draw(); !r.seen[s] {
			r.seen[s] = true
			return s
		}
	}
}

// number returns five digits.
func (r *random) number() string {
	return r.fresh(func() string { return fmt.Sprint(10000 + r.IntN(90000)) })
}

// name returns a word that no language has.
func (r *random) name() string {
	return r.fresh(func() string {
		s := ""
		for range 3 {
			s += string("bdfgklmnprstvz"[r.IntN(14)]) + string("aeiou"[r.IntN(5)])
		}
		return strings.ToUpper(s[:1]) + s[1:] + string("lnrs"[r.IntN(4)])
	})
}

func (r *random) list(n int, draw func() string) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = draw()
	}
	return out
}

// newWorld makes the data of a seed, and ten questions of each kind.
func newWorld(seed uint64) *world {
	w := &world{pages: map[string]string{}, files: map[string]string{}}
	r := &random{rand.New(rand.NewPCG(seed, 6)), map[string]bool{}}
	w.database(r)
	w.web(r)
	w.folder(r)
	return w
}

// ask adds a question whose answer is column[i].
func (w *world) ask(kind string, column []string, i int, format string, args ...any) {
	others := slices.Delete(slices.Clone(column), i, i+1)
	w.questions = append(w.questions, question{Kind: kind, Text: fmt.Sprintf(format, args...), Want: column[i], others: others})
}

func (w *world) database(r *random) {
	const rows = 8
	table := func(name, columns string, values ...[]string) {
		w.sql += fmt.Sprintf("CREATE TABLE %s (%s);\n", name, columns)
		for i := range rows {
			var row []string
			for _, column := range values {
				row = append(row, "'"+column[i]+"'")
			}
			w.sql += fmt.Sprintf("INSERT INTO %s VALUES (%s);\n", name, strings.Join(row, ", "))
		}
	}
	product, price, stock := r.list(rows, r.name), r.list(rows, r.number), r.list(rows, r.number)
	table("products", "name text, price integer, stock integer", product, price, stock)
	person, room, phone := r.list(rows, r.name), r.list(rows, r.number), r.list(rows, r.number)
	table("staff", "name text, room integer, phone integer", person, room, phone)
	order, customer, city, amount := r.list(rows, r.number), r.list(rows, r.name), r.list(rows, r.name), r.list(rows, r.number)
	table("orders", "id integer, customer text, city text, amount integer", order, customer, city, amount)

	products, staff, orders := "the table products (columns name, price, stock)", "the table staff (columns name, room, phone)", "the table orders (columns id, customer, city, amount)"
	i := r.Perm(rows)
	w.ask(kindDatabase, stock, i[0], "In %s, what is the stock of the product named '%s'?", products, product[i[0]])
	w.ask(kindDatabase, price, i[1], "In %s, what is the price of the product named '%s'?", products, product[i[1]])
	w.ask(kindDatabase, product, i[2], "In %s, what is the name of the product with the price %s?", products, price[i[2]])
	w.ask(kindDatabase, stock, slices.Index(stock, slices.Max(stock)), "In %s, what is the highest stock of all products?", products)
	w.ask(kindDatabase, room, i[3], "In %s, what is the room of %s?", staff, person[i[3]])
	w.ask(kindDatabase, phone, i[4], "In %s, what is the phone number of %s?", staff, person[i[4]])
	w.ask(kindDatabase, person, i[5], "In %s, what is the name of the person in room %s?", staff, room[i[5]])
	w.ask(kindDatabase, city, i[6], "In %s, what is the city of the order with the id %s?", orders, order[i[6]])
	w.ask(kindDatabase, amount, i[7], "In %s, what is the amount of the order of the customer %s?", orders, customer[i[7]])
	w.ask(kindDatabase, customer, i[0], "In %s, who is the customer of the order with the id %s?", orders, order[i[0]])
}

// places are what there is a page of.
var places = []string{"museum", "harbour", "library", "theatre", "bakery", "hospital", "school", "hotel", "garden", "station"}

func (w *world) web(r *random) {
	n := len(places)
	phone, visitors, director, street := r.list(n, r.number), r.list(n, r.number), r.list(n, r.name), r.list(n, r.name)
	for i, place := range places {
		w.pages["/"+place+".html"] = fmt.Sprintf(`<!DOCTYPE html>
<html><head><title>The %[1]s</title></head><body>
<nav><a href="/">Home</a> <a href="/news.html">News</a></nav>
<main><h1>The %[1]s</h1>
<p>The %[1]s is one of the oldest houses of the town, and it is open all year.</p>
<p>It stands in %[2]s Street. Its director is %[3]s. Last year %[4]s visitors came.</p>
<table><tr><th>What</th><th>Value</th></tr><tr><td>Phone number</td><td>%[5]s</td></tr><tr><td>Closed on</td><td>Monday</td></tr></table>
<p>Write to us if you have questions. We answer within a week.</p></main>
<footer>All rights reserved.</footer></body></html>
`, place, street[i], director[i], visitors[i], phone[i])
		page := fmt.Sprintf("%s/%s.html", pageAt, place)
		switch i % 4 {
		case 0:
			w.ask(kindWeb, phone, i, "What is the phone number of the %s? It is on the page %s", place, page)
		case 1:
			w.ask(kindWeb, visitors, i, "How many visitors came to the %s last year? It is on the page %s", place, page)
		case 2:
			w.ask(kindWeb, director, i, "Who is the director of the %s? The name is on the page %s", place, page)
		case 3:
			w.ask(kindWeb, street, i, "In which street does the %s stand? It is on the page %s", place, page)
		}
	}
}

func (w *world) folder(r *random) {
	names := []string{"office.txt", "router.conf", "minutes.md", "recipe.txt", "contract.txt", "garage.txt", "travel.md", "backup.conf", "members.csv", "meters.csv"}
	n := len(names)
	code, owner, limit, box := r.list(n, r.number), r.list(n, r.name), r.list(n, r.number), r.list(n, r.number)
	for i, name := range names {
		switch {
		case strings.HasSuffix(name, ".conf"):
			w.files[name] = fmt.Sprintf("# settings\nowner = %s\ncode = %s\nlimit = %s\nmode = fast\nbox = %s\n", owner[i], code[i], limit[i], box[i])
		case strings.HasSuffix(name, ".csv"):
			w.files[name] = fmt.Sprintf("field,value\nowner,%s\ncode,%s\nlimit,%s\nbox,%s\n", owner[i], code[i], limit[i], box[i])
		default:
			w.files[name] = fmt.Sprintf("Notes of the %s\n\nThis was written by %s.\nThe code is %s.\nThe limit is %s.\nIt was put into box %s.\n\nNothing else is known.\n",
				strings.Split(name, ".")[0], owner[i], code[i], limit[i], box[i])
		}
	}
	w.ask(kindFolder, code, 0, "What is the code in the file docs/%s?", names[0])
	w.ask(kindFolder, limit, 1, "What is the limit in the file docs/%s?", names[1])
	w.ask(kindFolder, owner, 2, "Who wrote the file docs/%s?", names[2])
	w.ask(kindFolder, box, 3, "Into which box was put what the file docs/%s is about?", names[3])
	w.ask(kindFolder, limit, 4, "What is the limit in the file docs/%s?", names[4])
	w.ask(kindFolder, code, 5, "What is the code in the file docs/%s?", names[5])
	w.ask(kindFolder, box, 8, "What is the box in the file docs/%s?", names[8])
	w.ask(kindFolder, owner, 9, "Who is the owner in the file docs/%s?", names[9])
	files := slices.Clone(names)
	for i := range files {
		files[i] = strings.Split(files[i], ".")[0]
	}
	w.ask(kindFolder, files, 6, "Which file of the folder docs holds the name %s? Say the name of the file.", owner[6])
	w.ask(kindFolder, files, 7, "Which file of the folder docs holds the number %s? Say the name of the file.", code[7])
}
