package remoteconfig

import (
	"encoding/json"
	"fmt"
)

// jsonUpdate is an update over HTTP/2 (docs/spec/wire.md 9.5).
type jsonUpdate struct {
	Version int32           `json:"version"`
	Config  json.RawMessage `json:"config"`
}

// jsonResult is the response over HTTP/2. Err is null or a text; a foreign connector may send any other value.
type jsonResult struct {
	Applied int32           `json:"lastAppliedVersion"`
	Err     json.RawMessage `json:"err"`
}

// MarshalUpdate gives the form over HTTP/2. It fails when the document is not JSON.
func MarshalUpdate(u Update) ([]byte, error) {
	b, err := json.Marshal(jsonUpdate{Version: u.Version, Config: u.Document})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return b, nil
}

// UnmarshalUpdate parses the form over HTTP/2. Tunnel is zero. Errors wrap ErrMalformed.
func UnmarshalUpdate(b []byte) (Update, error) {
	var u jsonUpdate
	if err := json.Unmarshal(b, &u); err != nil {
		return Update{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return Update{Version: u.Version, Document: u.Config}, nil
}

// MarshalResult gives the form over HTTP/2.
func MarshalResult(r Result) ([]byte, error) {
	out := jsonResult{Applied: r.Applied, Err: json.RawMessage("null")}
	if r.Rejection != "" {
		text, err := json.Marshal(r.Rejection)
		if err != nil {
			return nil, err
		}
		out.Err = text
	}
	return json.Marshal(out)
}

// UnmarshalResult parses the form over HTTP/2. An error value that is not a text becomes the rejection as JSON. Errors wrap
// ErrMalformed.
func UnmarshalResult(b []byte) (Result, error) {
	var in jsonResult
	if err := json.Unmarshal(b, &in); err != nil {
		return Result{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	r := Result{Applied: in.Applied}
	if len(in.Err) == 0 || string(in.Err) == "null" {
		return r, nil
	}
	if json.Unmarshal(in.Err, &r.Rejection) != nil || r.Rejection == "" {
		r.Rejection = string(in.Err)
	}
	return r, nil
}
