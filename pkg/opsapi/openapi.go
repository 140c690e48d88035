package opsapi

import (
	"encoding/json"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Base is the path that all operations are below.
const Base = "/v1"

const (
	mediaJSON    = "application/json"
	mediaProblem = "application/problem+json"
)

// everyError are the status codes that every operation may have.
func everyError() []int {
	return []int{
		http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusTooManyRequests, http.StatusServiceUnavailable,
	}
}

// Problem is the body of every error response (RFC 9457).
type Problem struct {
	Type   string `json:"type" doc:"about:blank: the status code says the kind"`
	Title  string `json:"title" doc:"text of the status code"`
	Status int    `json:"status" doc:"the status code"`
	Detail string `json:"detail,omitempty" doc:"what is wrong, and with what"`
}

// OpenAPI is the OpenAPI 3.1 document of the operations. The same operations give the same bytes.
func OpenAPI(operations []Operation) ([]byte, error) {
	s := &schemas{named: object{}}
	paths := object{}
	for i := range operations {
		o := &operations[i]
		path := Base + o.Path
		item, ok := paths[path].(object)
		if !ok {
			item = object{}
			paths[path] = item
		}
		item[strings.ToLower(o.Method)] = s.operation(o)
	}
	s.of(reflect.TypeFor[Problem]())
	return json.MarshalIndent(object{
		"openapi": "3.1.0",
		"info": object{
			"title": "Culvert ops API", "version": "1",
			"description": "State and control of a Culvert deployment. Any supervisor responds. Errors are problem documents (RFC 9457). " +
				"Fields may be added: clients ignore what they do not know.",
		},
		"paths": paths,
		"components": object{
			"schemas": s.named,
			"securitySchemes": object{"token": object{
				"type": "http", "scheme": "bearer", "description": "a token of culvert token create, or that of ops.token_file",
			}},
		},
		"security": []object{{"token": []string{}}},
	}, "", "  ")
}

func (s *schemas) operation(o *Operation) object {
	out := object{
		"operationId": o.ID, "summary": o.Summary, "tags": []string{o.Tag}, "responses": s.responses(o), "x-scope": string(o.Scope),
	}
	if parameters := parametersOf(o); len(parameters) > 0 {
		out["parameters"] = parameters
	}
	if o.Body != nil {
		out["requestBody"] = object{"required": true, "content": object{mediaJSON: object{"schema": s.of(reflect.TypeOf(o.Body))}}}
	}
	if o.Deprecated {
		out["deprecated"] = true
	}
	return out
}

func (s *schemas) responses(o *Operation) object {
	success := object{"description": http.StatusText(o.Status)}
	if o.Reply != nil {
		success["content"] = object{mediaJSON: object{"schema": s.of(reflect.TypeOf(o.Reply))}}
	}
	if o.Media != "" {
		success["content"] = object{o.Media: object{}}
	}
	text := object{"schema": object{"type": "string"}}
	headers := object{}
	if o.Tagged {
		headers["ETag"] = text
	}
	if len(headers) > 0 {
		success["headers"] = headers
	}
	out := object{strconv.Itoa(o.Status): success}
	errors := append(everyError(), o.Errors...)
	if o.Conditional {
		errors = append(errors, http.StatusPreconditionFailed)
	}
	if o.Idempotent {
		errors = append(errors, http.StatusConflict, http.StatusUnprocessableEntity)
	}
	for _, status := range errors {
		out[strconv.Itoa(status)] = object{
			"description": http.StatusText(status),
			"content":     object{mediaProblem: object{"schema": object{"$ref": componentPrefix + "Problem"}}},
		}
	}
	if o.Tagged && o.Method == http.MethodGet {
		out[strconv.Itoa(http.StatusNotModified)] = object{"description": http.StatusText(http.StatusNotModified)}
	}
	return out
}

var pathParameter = regexp.MustCompile(`\{([a-z]+)\}`)

func parametersOf(o *Operation) []object {
	var out []object
	add := func(in string, required bool, p Parameter) {
		schema := object{"type": "string"}
		switch {
		case p.Integer:
			schema = object{"type": "integer", "minimum": 0}
		case p.Name == "tunnel":
			schema["format"] = "uuid"
		}
		made := object{"name": p.Name, "in": in, "schema": schema}
		if required {
			made["required"] = true
		}
		if p.Doc != "" {
			made["description"] = p.Doc
		}
		out = append(out, made)
	}
	for _, m := range pathParameter.FindAllStringSubmatch(o.Path, -1) {
		add("path", true, Parameter{Name: m[1], Integer: m[1] == "index"})
	}
	for _, p := range o.Query {
		add("query", false, p)
	}
	headers := slices.Clone(o.Headers)
	if o.Tagged && o.Method == http.MethodGet {
		headers = append(headers, Parameter{Name: "If-None-Match", Doc: "ETag that the caller has: 304 if it still is the current one"})
	}
	if o.Conditional {
		headers = append(headers, Parameter{Name: "If-Match", Doc: "ETag that the change was made from: 412 if it is not the current one"})
	}
	if o.Idempotent {
		headers = append(headers, Parameter{
			Name: "Idempotency-Key", Doc: "1 to 128 characters: the same request with the same key again gets the same response, for a day",
		})
	}
	for _, p := range headers {
		add("header", false, p)
	}
	return out
}
