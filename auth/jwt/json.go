package jwt

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"
	"unicode"
	"unicode/utf8"
)

// maxDepth is far more than a token needs; foreign ones have an object or two of their issuer's own.
const maxDepth = 16

// parseObject reads a JSON object and returns its members. It refuses what two readers may understand differently: a name
// that occurs twice at any depth, text that is not UTF-8, anything after the object.
func parseObject(raw []byte) (map[string]json.RawMessage, error) {
	if !utf8.Valid(raw) {
		return nil, errors.New("it is not UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	if first, err := dec.Token(); err != nil || first != json.Delim('{') {
		return nil, errors.New("it is not a JSON object")
	}
	if err := walkObject(dec, 1); err != nil {
		return nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the JSON object")
	}
	// A map keeps the names as they are; a struct would take "Role" for "role".
	var members map[string]json.RawMessage
	if err := json.Unmarshal(raw, &members); err != nil {
		return nil, errors.New("it is not JSON")
	}
	return members, nil
}

// walkObject reads up to the end of the object whose brace has been read.
func walkObject(dec *json.Decoder, depth int) error {
	if depth > maxDepth {
		return errors.New("the JSON is nested too deeply")
	}
	seen := make(map[string]bool)
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return errors.New("it is not JSON")
		}
		s, ok := name.(string)
		if !ok || seen[s] {
			return errors.New("a name occurs twice in the JSON")
		}
		seen[s] = true
		if err := walkValue(dec, depth); err != nil {
			return err
		}
	}
	return endOf(dec)
}

func walkArray(dec *json.Decoder, depth int) error {
	if depth > maxDepth {
		return errors.New("the JSON is nested too deeply")
	}
	for dec.More() {
		if err := walkValue(dec, depth); err != nil {
			return err
		}
	}
	return endOf(dec)
}

func walkValue(dec *json.Decoder, depth int) error {
	t, err := dec.Token()
	switch {
	case err != nil:
		return errors.New("it is not JSON")
	case t == json.Delim('{'):
		return walkObject(dec, depth+1)
	case t == json.Delim('['):
		return walkArray(dec, depth+1)
	}
	return nil
}

func endOf(dec *json.Decoder) error {
	if _, err := dec.Token(); err != nil {
		return errors.New("it is not JSON")
	}
	return nil
}

// maxString is the longest text a claim may have.
const maxString = 256

// readString reads a JSON string of characters that can be seen: it goes to logs and names. Null is no string.
func readString(raw json.RawMessage) (string, error) {
	if len(raw) == 0 {
		return "", errors.New("it is missing")
	}
	var s string
	if err := json.Unmarshal(raw, &s); err != nil || raw[0] != '"' {
		return "", errors.New("it is not a string")
	}
	if s == "" || len(s) > maxString {
		return "", fmt.Errorf("it has %d bytes, 1 to %d are allowed", len(s), maxString)
	}
	for _, r := range s {
		if !unicode.IsPrint(r) || r == utf8.RuneError {
			return "", errors.New("it has a character that cannot be printed")
		}
	}
	return s, nil
}

// readStrings reads a JSON array of strings that has at least one: an empty list would mean "nothing" to one reader
// and "no restriction" to another.
func readStrings(raw json.RawMessage) ([]string, error) {
	var items []json.RawMessage
	if err := json.Unmarshal(raw, &items); err != nil || len(items) == 0 {
		return nil, errors.New("it is not a list of at least one string")
	}
	list := make([]string, 0, len(items))
	for _, item := range items {
		s, err := readString(item)
		if err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	return list, nil
}

// lastSecond is the end of the year 9999, the last that RFC 3339 can write.
const lastSecond = 253402300799

// readDate reads a NumericDate (RFC 7519 §2): seconds since 1970, in digits with or without a fraction. Signs and exponents,
// which JSON allows, are refused: no issuer writes them.
func readDate(raw json.RawMessage) (time.Time, error) {
	const sane = "it is not a number of seconds since 1970"
	if len(raw) == 0 || len(raw) > 32 {
		return time.Time{}, errors.New(sane)
	}
	for _, c := range raw {
		if (c < '0' || c > '9') && c != '.' {
			return time.Time{}, errors.New(sane)
		}
	}
	seconds, err := strconv.ParseFloat(string(raw), 64)
	if err != nil {
		return time.Time{}, errors.New(sane)
	}
	if seconds > lastSecond {
		return time.Time{}, errors.New("it is beyond the year 9999")
	}
	whole := int64(seconds)
	return time.Unix(whole, int64((seconds-float64(whole))*1e9)), nil
}
