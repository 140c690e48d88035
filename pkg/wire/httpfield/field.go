package httpfield

// Field is one field of a header or trailer section, as HTTP/2 carries it: the name is in lower case, and a name that
// begins with ":" is a pseudo-header. A Sensitive field stays out of the compression tables of HTTP/2, which is also the right choice
// for values that do not repeat.
type Field struct {
	Name, Value string
	Sensitive   bool
}

// Size is what the field counts against Limits.MaxBytes.
func (f *Field) Size() int { return len(f.Name) + len(f.Value) + FieldOverhead }
