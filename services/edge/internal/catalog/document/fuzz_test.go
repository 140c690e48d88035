package document_test

import (
	"bytes"
	"testing"

	"github.com/culvert-tunnel/culvert/services/edge/internal/catalog/document"
)

// FuzzParse checks that a document that can be read and written stays the same when it is read and written again.
func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"version":1}`))
	f.Add([]byte(`{"version":1,"tunnels":[{"id":"00000000-0000-0000-0000-000000000001","name":"demo"}],"routes":[{"host":"*"}]}`))
	f.Add([]byte(`{"version":2,"ports":[{"listen":"tcp://:2222"}]}`))
	f.Add([]byte(`{"version":3}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := document.Parse(b)
		if err != nil {
			return
		}
		first, err := d.Clone().Marshal()
		if err != nil {
			return
		}
		again, err := document.Parse(first)
		if err != nil {
			t.Fatalf("Parse of a written document: %v\n%s", err, first)
		}
		if second, err := again.Marshal(); err != nil || !bytes.Equal(first, second) {
			t.Fatalf("written again: %v\n%s\nbefore:\n%s", err, second, first)
		}
	})
}
