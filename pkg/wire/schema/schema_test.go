package schema_test

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	capnp "capnproto.org/go/capnp/v3"
	rpccp "capnproto.org/go/capnp/v3/std/capnp/rpc"
	"github.com/google/go-cmp/cmp"

	"github.com/culvert-tunnel/culvert/pkg/tunnel"
	"github.com/culvert-tunnel/culvert/pkg/wire/schema"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func loadVectors[V any](t testing.TB, name string) []V {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name+".json"))
	must(t, err)
	var file struct {
		Vectors []V `json:"vectors"`
	}
	must(t, json.Unmarshal(b, &file))
	if len(file.Vectors) == 0 {
		t.Fatalf("%s holds no vectors", name)
	}
	return file.Vectors
}

func message(t testing.TB, text string) *capnp.Message {
	t.Helper()
	b, err := hex.DecodeString(text)
	must(t, err)
	msg, err := capnp.Unmarshal(b)
	must(t, err)
	return msg
}

// TestIDs pins the numbers that are part of the protocol or reserved by it (docs/spec/wire.md 6.1).
func TestIDs(t *testing.T) {
	for name, id := range map[string][2]uint64{
		"ConnectRequest":              {schema.ConnectRequest_TypeID, 0xc47116a1045e4061},
		"ConnectResponse":             {schema.ConnectResponse_TypeID, 0xb1032ec91cef8727},
		"Metadata":                    {schema.Metadata_TypeID, 0xe1446b97bfd1cd37},
		"TunnelAuth":                  {schema.TunnelAuth_TypeID, 0x9496331ab9cd463f},
		"ClientInfo":                  {schema.ClientInfo_TypeID, 0x83ced0145b2f114b},
		"ConnectionOptions":           {schema.ConnectionOptions_TypeID, 0xb4bf9861fe035d04},
		"ConnectionResponse":          {schema.ConnectionResponse_TypeID, 0xdbaa9d03d52b62dc},
		"ConnectionError":             {schema.ConnectionError_TypeID, 0xf5f383d2785edb86},
		"ConnectionDetails":           {schema.ConnectionDetails_TypeID, 0xb5f39f082b9ac18a},
		"RegisterUdpSessionResponse":  {schema.RegisterUdpSessionResponse_TypeID, 0xab6d5210c1f26687},
		"UpdateConfigurationResponse": {schema.UpdateConfigurationResponse_TypeID, 0xdb58ff694ba05cf9},
		"ConnectionType":              {schema.ConnectionType_TypeID, 0xc52e1bac26d379c8},
		"ExistingTunnelPolicy":        {schema.ExistingTunnelPolicy_TypeID, 0x84cb9536a2cf6d3c},
		"RegistrationServer":          {schema.RegistrationServer_TypeID, 0xf71695ec7fe85497},
		"SessionManager":              {schema.SessionManager_TypeID, 0x839445a59fb01686},
		"ConfigurationManager":        {schema.ConfigurationManager_TypeID, 0xb48edfbdaa25db04},
		"CloudflaredServer":           {schema.CloudflaredServer_TypeID, 0xf548cef9dea2a4a1},
		"TunnelServer":                {schema.TunnelServer_TypeID, 0xea58385c65416035},
		"Authentication":              {schema.Authentication_TypeID, 0xc082ef6e0d42ed1d},
		"TunnelRegistration":          {schema.TunnelRegistration_TypeID, 0xf41a0f001ad49e46},
		"RegistrationOptions":         {schema.RegistrationOptions_TypeID, 0xc793e50592935b4a},
		"ServerInfo":                  {schema.ServerInfo_TypeID, 0xf2c68e2547ec3866},
		"AuthenticateResponse":        {schema.AuthenticateResponse_TypeID, 0x82c325a07ad22a65},
		"Tag":                         {schema.Tag_TypeID, 0xcbd96442ae3bb01a},
	} {
		if id[0] != id[1] {
			t.Errorf("%s has id %#x, want %#x", name, id[0], id[1])
		}
	}
}

// TestLayouts pins data words and pointers of every struct (docs/spec/wire.md 6.1).
func TestLayouts(t *testing.T) {
	_, seg, err := capnp.NewMessage(capnp.SingleSegment(nil))
	must(t, err)
	for name, tc := range map[string]struct {
		got  capnp.ObjectSize
		want [2]uint16
	}{
		"ConnectRequest":              {sizeOf(t, seg, schema.NewConnectRequest), [2]uint16{1, 2}},
		"ConnectResponse":             {sizeOf(t, seg, schema.NewConnectResponse), [2]uint16{0, 2}},
		"Metadata":                    {sizeOf(t, seg, schema.NewMetadata), [2]uint16{0, 2}},
		"TunnelAuth":                  {sizeOf(t, seg, schema.NewTunnelAuth), [2]uint16{0, 2}},
		"ClientInfo":                  {sizeOf(t, seg, schema.NewClientInfo), [2]uint16{0, 4}},
		"ConnectionOptions":           {sizeOf(t, seg, schema.NewConnectionOptions), [2]uint16{1, 2}},
		"ConnectionResponse":          {sizeOf(t, seg, schema.NewConnectionResponse), [2]uint16{1, 1}},
		"ConnectionError":             {sizeOf(t, seg, schema.NewConnectionError), [2]uint16{2, 1}},
		"ConnectionDetails":           {sizeOf(t, seg, schema.NewConnectionDetails), [2]uint16{1, 2}},
		"RegisterUdpSessionResponse":  {sizeOf(t, seg, schema.NewRegisterUdpSessionResponse), [2]uint16{0, 2}},
		"UpdateConfigurationResponse": {sizeOf(t, seg, schema.NewUpdateConfigurationResponse), [2]uint16{1, 1}},
		"Authentication":              {sizeOf(t, seg, schema.NewAuthentication), [2]uint16{0, 3}},
		"TunnelRegistration":          {sizeOf(t, seg, schema.NewTunnelRegistration), [2]uint16{1, 6}},
		"RegistrationOptions":         {sizeOf(t, seg, schema.NewRegistrationOptions), [2]uint16{2, 8}},
		"ServerInfo":                  {sizeOf(t, seg, schema.NewServerInfo), [2]uint16{0, 1}},
		"AuthenticateResponse":        {sizeOf(t, seg, schema.NewAuthenticateResponse), [2]uint16{1, 3}},
		"Tag":                         {sizeOf(t, seg, schema.NewTag), [2]uint16{0, 2}},
		"registerConnection params":   {sizeOf(t, seg, schema.NewRegistrationServer_registerConnection_Params), [2]uint16{1, 3}},
		"registerUdpSession params":   {sizeOf(t, seg, schema.NewSessionManager_registerUdpSession_Params), [2]uint16{2, 3}},
		"unregisterUdpSession params": {sizeOf(t, seg, schema.NewSessionManager_unregisterUdpSession_Params), [2]uint16{0, 2}},
		"updateConfiguration params":  {sizeOf(t, seg, schema.NewConfigurationManager_updateConfiguration_Params), [2]uint16{1, 1}},
	} {
		const wordSize = 8
		if got := [2]uint16{uint16(tc.got.DataSize / wordSize), tc.got.PointerCount}; got != tc.want {
			t.Errorf("%s has %v data words and pointers, want %v", name, got, tc.want)
		}
	}
}

func sizeOf[S ~capnp.StructKind](t *testing.T, seg *capnp.Segment, create func(*capnp.Segment) (S, error)) capnp.ObjectSize {
	t.Helper()
	s, err := create(seg)
	must(t, err)
	return capnp.Struct(s).Size()
}

// decodeStruct reads the root of msg as the named struct, in the form of the vectors.
func decodeStruct(t *testing.T, name string, msg *capnp.Message) map[string]any {
	t.Helper()
	text := func(s string, err error) string {
		must(t, err)
		return s
	}
	data := func(b []byte, err error) string {
		must(t, err)
		return hex.EncodeToString(b)
	}
	switch name {
	case "TunnelAuth":
		v, err := schema.ReadRootTunnelAuth(msg)
		must(t, err)
		return map[string]any{"accountTag": text(v.AccountTag()), "tunnelSecret_hex": data(v.TunnelSecret())}
	case "ConnectionDetails":
		v, err := schema.ReadRootConnectionDetails(msg)
		must(t, err)
		uuid, err := v.Uuid()
		must(t, err)
		return map[string]any{
			"uuid":                    tunnel.ID(uuid).String(),
			"locationName":            text(v.LocationName()),
			"tunnelIsRemotelyManaged": v.TunnelIsRemotelyManaged(),
		}
	case "ConnectionError":
		v, err := schema.ReadRootConnectionError(msg)
		must(t, err)
		return map[string]any{
			"cause":       text(v.Cause()),
			"retryAfter":  float64(v.RetryAfter()),
			"shouldRetry": v.ShouldRetry(),
		}
	case "ConnectionOptions":
		v, err := schema.ReadRootConnectionOptions(msg)
		must(t, err)
		client, err := v.Client()
		must(t, err)
		list, err := client.Features()
		must(t, err)
		var features any
		if list.IsValid() {
			all := make([]any, list.Len())
			for i := range all {
				all[i] = text(list.At(i))
			}
			features = all
		}
		return map[string]any{
			"client": map[string]any{
				"arch":         text(client.Arch()),
				"clientId_hex": data(client.ClientId()),
				"features":     features,
				"version":      text(client.Version()),
			},
			"compressionQuality":  float64(v.CompressionQuality()),
			"numPreviousAttempts": float64(v.NumPreviousAttempts()),
			"originLocalIp_hex":   data(v.OriginLocalIp()),
			"replaceExisting":     v.ReplaceExisting(),
		}
	default:
		t.Fatalf("struct %s is not covered", name)
		return nil
	}
}

func TestRegistrationStructs(t *testing.T) {
	type vector struct {
		Name    string         `json:"name"`
		Struct  string         `json:"struct"`
		Message string         `json:"message_hex"`
		Value   map[string]any `json:"value"`
	}
	for _, v := range loadVectors[vector](t, "registration_structs") {
		t.Run(v.Name, func(t *testing.T) {
			if diff := cmp.Diff(v.Value, decodeStruct(t, v.Struct, message(t, v.Message))); diff != "" {
				t.Errorf("%s (-want +got):\n%s", v.Struct, diff)
			}
		})
	}
}

// sessionVector is one recorded session call.
type sessionVector struct {
	Name   string        `json:"name"`
	Call   sessionCall   `json:"call"`
	Result sessionResult `json:"result"`
	Writes []struct {
		Hex     string `json:"hex"`
		Message string `json:"message"`
	} `json:"writes"`
}

type sessionCall struct {
	CloseAfterIdleHint int64  `json:"closeAfterIdleHint_ns"`
	DstIP              string `json:"dstIp_hex"`
	DstPort            uint16 `json:"dstPort"`
	SessionID          string `json:"sessionId"`
	TraceContext       string `json:"traceContext"`
	Message            string `json:"message"`
}

type sessionResult struct {
	Err   string `json:"err"`
	Spans string `json:"spans_hex"`
}

// TestSessionStructs decodes the parameters and results of the recorded session calls.
func TestSessionStructs(t *testing.T) {
	for _, v := range loadVectors[sessionVector](t, "rpc_udp_session_v2") {
		t.Run(v.Name, func(t *testing.T) {
			register := false
			returns := 0
			for _, w := range v.Writes {
				switch w.Message {
				case "call":
					var got sessionCall
					got, register = readCall(t, message(t, w.Hex))
					if diff := cmp.Diff(v.Call, got); diff != "" {
						t.Errorf("params (-want +got):\n%s", diff)
					}
				case "return":
					if returns++; returns == 1 || !register {
						continue // the first return is the bootstrap's, unregister has no result
					}
					if diff := cmp.Diff(v.Result, readResult(t, message(t, w.Hex))); diff != "" {
						t.Errorf("result (-want +got):\n%s", diff)
					}
				}
			}
		})
	}
}

func readCall(t *testing.T, msg *capnp.Message) (c sessionCall, register bool) {
	t.Helper()
	m, err := rpccp.ReadRootMessage(msg)
	must(t, err)
	call, err := m.Call()
	must(t, err)
	if call.InterfaceId() != schema.SessionManager_TypeID {
		t.Errorf("interface %#x, want SessionManager", call.InterfaceId())
	}
	params, err := call.Params()
	must(t, err)
	content, err := params.Content()
	must(t, err)
	if call.MethodId() != 0 {
		p := schema.SessionManager_unregisterUdpSession_Params(content.Struct())
		c.SessionID = uuidOf(t, p.SessionId)
		c.Message, err = p.Message_()
		must(t, err)
		return c, false
	}
	p := schema.SessionManager_registerUdpSession_Params(content.Struct())
	c.CloseAfterIdleHint, c.DstPort = p.CloseAfterIdleHint(), p.DstPort()
	c.DstIP, c.SessionID = hexOf(t, p.DstIp), uuidOf(t, p.SessionId)
	c.TraceContext, err = p.TraceContext()
	must(t, err)
	return c, true
}

func readResult(t *testing.T, msg *capnp.Message) (r sessionResult) {
	t.Helper()
	m, err := rpccp.ReadRootMessage(msg)
	must(t, err)
	ret, err := m.Return()
	must(t, err)
	payload, err := ret.Results()
	must(t, err)
	content, err := payload.Content()
	must(t, err)
	result, err := schema.SessionManager_registerUdpSession_Results(content.Struct()).Result()
	must(t, err)
	r.Spans = hexOf(t, result.Spans)
	r.Err, err = result.Err()
	must(t, err)
	return r
}

func hexOf(t *testing.T, read func() ([]byte, error)) string {
	t.Helper()
	b, err := read()
	must(t, err)
	return hex.EncodeToString(b)
}

func uuidOf(t *testing.T, read func() ([]byte, error)) string {
	t.Helper()
	b, err := read()
	must(t, err)
	return tunnel.ID(b).String()
}
