package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httputil"
	"strconv"
	"strings"
	"time"
)

// callProtocol is the version of MCP that the clients speak.
const callProtocol = "2025-11-25"

// firstID is the id of the first call of a client. All have as many digits, so that
// all requests of a client have one length, and only the digits change.
const firstID = 1_000_000_000

// callClient is one client of an MCP server: a connection that is kept open, with a
// session. It writes requests that lie ready and reads no more of an answer than
// it must, since on few CPUs what it takes is missing to the server.
type callClient struct {
	conn    net.Conn
	in      *bufio.Reader
	headers string // of every request after initialize
	body    []byte // of the last answer
	request []byte // a call of the tool, whole
	digits  int    // where its id begins
	next    int
}

// dialMCP connects to the server at url, "http://host:port", and initializes.
func dialMCP(url string) (*callClient, error) {
	address, ok := strings.CutPrefix(url, "http://")
	if !ok {
		return nil, fmt.Errorf("connect to %q: want http://host:port", url)
	}
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("connect to the MCP server: %w", err)
	}
	c := &callClient{conn: conn, in: bufio.NewReaderSize(conn, 16<<10), next: firstID}
	c.headers = "POST /mcp HTTP/1.1\r\nHost: " + address + "\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\n"
	session, err := c.send(`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"` + callProtocol + `","capabilities":{},"clientInfo":{"name":"benchsuite","version":"1"}}}`)
	if err == nil && session == "" {
		err = fmt.Errorf("initialize: no session came: %.300s", c.body)
	}
	if err == nil {
		c.headers += "Mcp-Session-Id: " + session + "\r\nMcp-Protocol-Version: " + callProtocol + "\r\n"
		_, err = c.send(`{"jsonrpc":"2.0","method":"notifications/initialized"}`)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return c, nil
}

func (c *callClient) close() { c.conn.Close() }

// send posts one message and reads the answer into c.body. It returns the session
// that the answer names, if it does.
func (c *callClient) send(message string) (session string, err error) {
	if _, err := c.conn.Write(c.post(message)); err != nil {
		return "", fmt.Errorf("post a message: %w", err)
	}
	return c.read()
}

func (c *callClient) post(message string) []byte {
	return fmt.Appendf(nil, "%sContent-Length: %d\r\n\r\n%s", c.headers, len(message), message)
}

// ask posts a request and reads the result of the answer into v.
func (c *callClient) ask(method, params string, v any) error {
	if _, err := c.send(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":%q,"params":%s}`, c.next, method, params)); err != nil {
		return err
	}
	c.next++
	var answer struct {
		Result json.RawMessage `json:"result"`
		Error  json.RawMessage `json:"error"`
	}
	if err := json.Unmarshal(c.body, &answer); err != nil || answer.Result == nil {
		return fmt.Errorf("%s: no result came: %.300s", method, c.body)
	}
	return json.Unmarshal(answer.Result, v)
}

// ready makes the request that call sends.
func (c *callClient) ready(tool string) {
	name, _ := json.Marshal(tool) // a string always marshals
	c.request = c.post(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":%s,"arguments":{}}}`, c.next, name))
	c.digits = bytes.LastIndex(c.request, []byte(`"id":`)) + len(`"id":`)
}

// call calls the tool and returns how long the whole answer took. It is in c.body
// then, with the id as it was sent at the place that idAt finds.
func (c *callClient) call() (time.Duration, error) {
	strconv.AppendInt(c.request[c.digits:c.digits], int64(c.next), 10)
	c.next++
	began := time.Now()
	if _, err := c.conn.Write(c.request); err != nil {
		return 0, fmt.Errorf("call the tool: %w", err)
	}
	_, err := c.read()
	return time.Since(began), err
}

// read reads one response.
func (c *callClient) read() (session string, err error) {
	status, err := c.in.ReadSlice('\n')
	if err != nil {
		return "", fmt.Errorf("read an answer: %w", err)
	}
	good := bytes.HasPrefix(status, []byte("HTTP/1.1 2"))
	first := string(bytes.TrimSpace(status[:min(len(status), 80)]))
	length, chunked, stream := 0, false, false
	for {
		line, err := c.in.ReadSlice('\n')
		if err != nil {
			return "", fmt.Errorf("read an answer: %w", err)
		}
		if line = bytes.TrimRight(line, "\r\n"); len(line) == 0 {
			break
		}
		name, value, _ := bytes.Cut(line, []byte(": "))
		switch {
		case bytes.EqualFold(name, []byte("Content-Length")):
			if length, err = strconv.Atoi(string(value)); err != nil {
				return "", fmt.Errorf("read an answer: %w", err)
			}
		case bytes.EqualFold(name, []byte("Transfer-Encoding")):
			chunked = true
		case bytes.EqualFold(name, []byte("Content-Type")):
			stream = bytes.HasPrefix(value, []byte("text/event-stream"))
		case bytes.EqualFold(name, []byte("Mcp-Session-Id")):
			session = string(value)
		}
	}
	if c.body = c.body[:0]; chunked {
		all := bytes.NewBuffer(c.body)
		_, err = all.ReadFrom(httputil.NewChunkedReader(c.in))
		c.body = all.Bytes()
		if err == nil { // what ends the chunks
			_, err = c.in.Discard(len("\r\n"))
		}
	} else {
		if cap(c.body) < length {
			c.body = make([]byte, 0, length)
		}
		c.body = c.body[:length]
		_, err = io.ReadFull(c.in, c.body)
	}
	switch {
	case err != nil:
		return "", fmt.Errorf("read an answer: %w", err)
	case !good:
		return "", fmt.Errorf("the server answered %s: %.300s", first, c.body)
	case stream:
		return "", errors.New("the server answered with a stream of events where one document was meant")
	}
	return session, nil
}

// idAt finds the id in an answer to a call: the rest of all answers is to be equal.
func idAt(body []byte) (int, error) {
	at := bytes.Index(body, []byte(`"id":1`))
	if at < 0 || len(body) < at+len(`"id":`)+len(strconv.Itoa(firstID)) {
		return 0, fmt.Errorf("an answer without its id: %.300s", body)
	}
	return at + len(`"id":`), nil
}
