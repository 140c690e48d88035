package stockmetrics

import (
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

const (
	counter   = dto.MetricType_COUNTER
	gauge     = dto.MetricType_GAUGE
	histogram = dto.MetricType_HISTOGRAM
)

// labels of the reference.
const (
	index  = "conn_index"
	reason = "reason"
)

// noIndex is a note on families whose figures the proxy counts, which does not see connections.
const noIndex = "Counted where sockets are, for all connections: conn_index is empty."

// Table is every family that the reference registers itself, in the order of docs/spec/lifecycle.md 10.3.
func Table() []Series {
	return slices.Concat(tunnelSeries(), requestSeries(), datagramSeries(), controlSeries(), quicSeries())
}

// all is the sum of a family of ours.
func all(family string) []Part { return []Part{{Family: family}} }

// of is the sum of those series of a family whose label has one of values.
func of(family, label string, values ...string) []Part {
	return []Part{{Family: family, Where: map[string][]string{label: values}}}
}

func tunnelSeries() []Series {
	register := map[string][]string{"method": {"register_connection"}}
	return []Series{
		{
			Name: "build_info", Kind: gauge, Labels: []string{"goversion", "type", "revision", "version"},
			Help: "Constant 1; the labels say what is running.",
			From: []Part{{Family: "culvert_build_info", Labels: []string{"go_version", "=", "revision", "version"}}},
			Note: "The revision is that of the source, not the time of the build.",
		},
		{
			Name: "cloudflared_tunnel_ha_connections", Kind: gauge, Help: "Registered connections to the edge.",
			From: all("culvert_worker_connections"),
			Note: "Registered connections. The reference counts attempts, also those that dial and wait.",
		},
		{
			Name: "cloudflared_tunnel_server_locations", Kind: gauge, Labels: []string{"connection_id", "edge_location"},
			Help: "Where connections are registered: 1 for the present place, 0 for an earlier one.",
			From: []Part{{Family: "culvert_worker_location", Labels: []string{index, "location"}}},
			Note: "0 while the connection is lost; the reference keeps 1 until it is registered elsewhere.",
		},
		{
			Name: "cloudflared_tunnel_tunnel_register_success", Kind: counter, Labels: []string{"rpcName"},
			Help: "Registrations that the edge accepted.",
			From: []Part{{
				Family: "culvert_worker_calls_total", Labels: []string{"=registerConnection"},
				Where: map[string][]string{"method": register["method"], "result": {"ok"}},
			}},
		},
		{
			Name: "cloudflared_tunnel_tunnel_register_fail", Kind: counter, Labels: []string{"error", "rpcName"},
			Help: "Registrations that failed: the edge held the connection already, or anything else.",
			From: []Part{{
				Family: "culvert_worker_calls_total", Labels: []string{"result", "=registerConnection"},
				Where:  map[string][]string{"method": register["method"], "result": {"duplicate", "refused", "failed"}},
				Rename: map[string]string{"duplicate": "dup_edge_conn", "refused": "server_error", "failed": "server_error"},
			}},
		},
		{
			Name: "cloudflared_tunnel_tunnel_rpc_fail", Kind: counter, Labels: []string{"error", "rpcName"}, Help: "Calls that failed.",
			Note: "Never set by the reference.",
		},
		{
			Name: "cloudflared_tunnel_max_concurrent_requests_per_tunnel", Kind: gauge, Labels: []string{"connection_id"},
			Help: "Most requests at a time.", Note: "Never set by the reference.",
		},
		{
			Name: "tunnel_ids", Kind: gauge, Labels: []string{"tunnel_id", "ha_conn_id"}, Help: "Tunnels of connections.",
			Note: "Never set by the reference.",
		},
		{
			Name: "cloudflared_tunnel_user_hostnames_counts", Kind: counter, Labels: []string{"userHostname"}, Help: "Public URL of a quick tunnel.",
			From: []Part{{Family: quickFamily, Labels: []string{"url"}}},
		},
	}
}

// originFaults are the reasons of failed requests that lie at or before the origin. Visitors that leave, malformed requests and
// refusals by a rule or a limit are not among them.
func originFaults() []string {
	return []string{"dial", "tls", "timeout", "protocol", "policy", "internal"}
}

func requestSeries() []Series {
	return []Series{
		{
			Name: "cloudflared_tunnel_total_requests", Kind: counter, Help: "Requests and TCP streams taken from the edge.",
			From: all("culvert_proxy_requests_total"),
		},
		{
			Name: "cloudflared_tunnel_concurrent_requests_per_tunnel", Kind: gauge, Help: "Requests and TCP streams that are being served.",
			From: all("culvert_proxy_requests_in_flight"),
		},
		{
			Name: "cloudflared_tunnel_response_by_code", Kind: counter, Labels: []string{"status_code"}, Help: "Responses of origins by status.",
			From: []Part{{Family: "culvert_proxy_origin_responses_total", Labels: []string{"status"}}},
			Note: "Every response that began. The reference leaves out those whose visitor left before the end.",
		},
		{
			Name: "cloudflared_tunnel_request_errors", Kind: counter, Help: "Requests that failed at or before the origin.",
			From: of("culvert_proxy_request_errors_total", "reason", originFaults()...),
			Note: "Without visitors that left, which the reference counts as errors, too.",
		},
		{
			Name: "cloudflared_tcp_active_sessions", Kind: gauge, Help: "Private-network TCP streams that are open.",
			From: of("culvert_proxy_streams_active", "kind", "tcp"), Note: "Connected streams. The reference counts attempts.",
		},
		{
			Name: "cloudflared_tcp_total_sessions", Kind: counter, Help: "Private-network TCP streams so far.",
			From: of("culvert_proxy_streams_total", "kind", "tcp"), Note: "Connected streams. The reference counts attempts.",
		},
		{
			Name: "cloudflared_proxy_connect_latency", Kind: histogram, Buckets: []float64{1, 10, 25, 50, 100, 500, 1000, 5000},
			Help: "Milliseconds to connect a TCP stream or a service behind a websocket.",
			From: []Part{{Family: "culvert_proxy_stream_connect_seconds", Factor: 1000}},
		},
		{
			Name: "cloudflared_proxy_connect_streams_errors", Kind: counter, Help: "TCP streams and services that could not be connected.",
			From: all("culvert_proxy_stream_connect_errors_total"),
		},
	}
}

func datagramSeries() []Series {
	flows := func(name string, kind dto.MetricType, help, family string) Series {
		return Series{
			Name: name, Kind: kind, Labels: []string{index}, Help: help,
			From: []Part{{Family: family, Where: map[string][]string{"datagrams": {"v3"}}, Labels: []string{index}}},
		}
	}
	counted := func(name, help, family string) Series {
		return Series{
			Name: name, Kind: counter, Labels: []string{index}, Help: help, Note: noIndex,
			From: []Part{{Family: family, Labels: []string{"="}, NonZero: true}},
		}
	}
	return []Series{
		{
			Name: "cloudflared_udp_active_sessions", Kind: gauge, Help: "UDP sessions of datagram version 2 that are open.",
			From: of("culvert_worker_udp_sessions", "datagrams", "v2"),
		},
		{
			Name: "cloudflared_udp_total_sessions", Kind: counter, Help: "UDP sessions of datagram version 2 so far.",
			From: of("culvert_worker_udp_sessions_total", "datagrams", "v2"),
		},
		flows("cloudflared_udp_active_flows", gauge, "UDP flows of datagram version 3 that are open.", "culvert_worker_udp_sessions"),
		flows("cloudflared_udp_total_flows", counter, "UDP flows of datagram version 3 so far.", "culvert_worker_udp_sessions_total"),
		counted("cloudflared_udp_failed_flows", "UDP sessions and flows that an error ended.", "culvert_proxy_udp_sessions_failed_total"),
		counted("cloudflared_udp_retry_flow_responses", "Registrations that were repeated.", "culvert_proxy_udp_registrations_repeated_total"),
		counted("cloudflared_udp_migrated_flows", "UDP sessions and flows that moved to another connection.",
			"culvert_proxy_udp_sessions_migrated_total"),
		{
			Name: "cloudflared_udp_unsupported_remote_command_total", Kind: counter, Labels: []string{index, "command"},
			Help: "Calls of datagram version 2 on a connection of version 3.",
			From: []Part{{
				Family: "culvert_worker_served_calls_total", Where: map[string][]string{"result": {"unsupported"}},
				Labels: []string{"=", "method"},
			}},
			Note: "conn_index is empty.",
		},
		{
			Name: "cloudflared_udp_dropped_datagrams", Kind: counter, Labels: []string{index, reason}, Help: "Datagrams that were dropped.",
			From: []Part{
				{Family: "culvert_proxy_udp_dropped_datagrams_total", Labels: []string{"=", reason}, NonZero: true},
				{Family: "culvert_worker_datagrams_dropped_total", Labels: []string{"=", reason}, NonZero: true, Rename: map[string]string{
					"malformed": "write_failed", "unexpected": "write_failed", "unknown_session": "write_flow_unknown",
					"too_many_sessions": "write_failed", "queue_full": "write_full", "no_proxy": "write_failed", "incomplete": "write_failed",
					"too_large": "read_too_large", "not_sent": "read_failed",
				}},
			},
			Note: noIndex + " What the worker drops is among them, by the nearest reason.",
		},
		{
			Name: "cloudflared_icmp_dropped_packets", Kind: counter, Labels: []string{index, reason}, Help: "ICMP packets that were dropped.",
			From: []Part{{
				Family: "culvert_proxy_icmp_dropped_packets_total", Labels: []string{"=", reason}, NonZero: true,
				Rename: map[string]string{"write_denied": "write_failed"},
			}},
			Note: noIndex,
		},
		{
			Name: "cloudflared_icmp_total_requests", Kind: counter, Help: "ICMP packets from the edge.",
			From: all("culvert_proxy_icmp_requests_total"),
		},
		{
			Name: "cloudflared_icmp_total_replies", Kind: counter, Help: "Echo replies to the edge.", From: all("culvert_proxy_icmp_replies_total"),
		},
		{
			Name: "cloudflared_virtual_origins_dns_requests_total", Kind: counter, Labels: []string{"protocol"},
			Help: "Flows to the virtual DNS service.",
			From: []Part{{Family: "culvert_proxy_dns_requests_total", Labels: []string{"network"}, NonZero: true}},
		},
		{
			Name: "flow_client_registrations_rate_limited_total", Kind: counter, Labels: []string{"flow_type"},
			Help: "Private-network flows that the limit refused.",
			From: []Part{{Family: "culvert_proxy_private_flows_limited_total", Labels: []string{"flow_type"}, NonZero: true}},
		},
	}
}

// handlers give each method the name of what serves it.
func handlers() map[string]string {
	return map[string]string{
		"register_connection": "registration", "unregister_connection": "registration", "update_local_configuration": "registration",
		"update_configuration": "config", "register_udp_session": "session", "unregister_udp_session": "session",
	}
}

// calls are the three families of calls in one direction.
func calls(name, family, seconds, help string) []Series {
	labels := []string{"handler", "method"}
	// part copies the family once per method, so that the handler is a constant.
	part := func(family string, results ...string) []Part {
		var parts []Part
		for method, handler := range handlers() {
			p := Part{Family: family, Labels: []string{"=" + handler, "method"}, Where: map[string][]string{"method": {method}}}
			if len(results) > 0 {
				p.Where["result"] = results
			}
			parts = append(parts, p)
		}
		return parts
	}
	return []Series{
		{Name: name + "_operations", Kind: counter, Labels: labels, Help: help + ".", From: part(family)},
		{
			Name: name + "_failures", Kind: counter, Labels: labels, Help: help + " that failed.",
			From: part(family, "duplicate", "refused", "unsupported", "failed"),
		},
		{
			Name: name + "_latency_secs", Kind: histogram, Labels: labels, Help: help + ": seconds.",
			Buckets: prometheus.ExponentialBuckets(.05, 3, 5), From: part(seconds),
		},
	}
}

func controlSeries() []Series {
	push := map[string][]string{"method": {"update_local_configuration"}}
	list := []Series{
		{
			Name: "cloudflared_config_local_config_pushes", Kind: counter, Help: "Local configurations uploaded to the edge, failures included.",
			From: []Part{{Family: "culvert_worker_calls_total", Where: push}},
		},
		{
			Name: "cloudflared_config_local_config_pushes_errors", Kind: counter, Help: "Local configurations that could not be uploaded.",
			From: []Part{{Family: "culvert_worker_calls_total", Where: map[string][]string{
				"method": push["method"], "result": {"rejected", "refused", "failed", "unsupported"},
			}}},
		},
		{
			Name: "cloudflared_orchestration_config_version", Kind: gauge, Help: "Version of the configuration that the edge pushed; 0 without one.",
			From: all("culvert_proxy_config_version"),
		},
	}
	list = append(list, calls("cloudflared_rpc_server", "culvert_worker_served_calls_total", "culvert_worker_served_call_seconds",
		"Calls of the edge")...)
	return append(list, calls("cloudflared_rpc_client", "culvert_worker_calls_total", "culvert_worker_call_seconds", "Calls to the edge")...)
}

// frameNote says why some families do not exist.
const frameNote = "Absent: the transport would have to report every packet, which costs requests time. culvert_worker_quic_packets_total " +
	"has packets by direction."

func quicSeries() []Series {
	const bytes, rtt = "culvert_worker_quic_bytes_total", "culvert_worker_quic_rtt_seconds"
	unknown := -1.0
	by := func(name string, kind dto.MetricType, help string, p Part) Series {
		p.Labels = []string{index}
		return Series{Name: "quic_client_" + name, Kind: kind, Labels: []string{index}, Help: help, From: []Part{p}}
	}
	only := func(label, value string) map[string][]string { return map[string][]string{label: {value}} }
	absent := func(name string, kind dto.MetricType, help, note string, labels ...string) Series {
		return Series{Name: "quic_client_" + name, Kind: kind, Labels: append([]string{index}, labels...), Help: help, Note: note}
	}
	state := by("congestion_state", gauge, "-1: not known.", Part{Family: "culvert_worker_quic_congestion_window_bytes", Value: &unknown})
	state.Note = "Always -1, the reference's number for unknown: the transport does not tell."
	lost := Part{Family: "culvert_worker_quic_packets_lost_total", Labels: []string{index, "=unknown_loss_reason"}, NonZero: true}
	const milli = 1000
	return []Series{
		{
			Name: "quic_client_total_connections", Kind: counter, Help: "QUIC connections that were dialled.",
			From: of("culvert_worker_dials_total", "protocol", "quic"),
		},
		{
			Name: "quic_client_closed_connections", Kind: counter, Help: "QUIC connections that ended, or failed to begin.",
			From: append(of("culvert_worker_dials_total", "protocol", "quic"), Part{Family: "culvert_worker_quic_sessions", Factor: -1}),
		},
		absent("max_udp_payload", gauge, "Limit of the peer, in bytes.",
			"Absent: the transport does not tell. quic_client_mtu is the size in use."),
		absent("sent_frames", counter, "Frames sent.", frameNote, "frame_type"),
		absent("received_frames", counter, "Frames received.", frameNote, "frame_type"),
		by("sent_bytes", counter, "Bytes of packets sent.", Part{Family: bytes, Where: only("direction", "sent")}),
		by("receive_bytes", counter, "Bytes of packets received.", Part{Family: bytes, Where: only("direction", "received")}),
		absent("buffered_packets", counter, "Packets that had to wait for keys.", frameNote, "packet_type"),
		absent("dropped_packets", counter, "Bytes of packets that were dropped.", frameNote, "packet_type", reason),
		{
			Name: "quic_client_lost_packets", Kind: counter, Labels: []string{index, reason}, Help: "Packets sent that were taken for lost.",
			From: []Part{lost}, Note: "The reason is not known.",
		},
		by("min_rtt", gauge, "Least round-trip time of the session, in milliseconds.", Part{
			Family: rtt, Where: only("kind", "min"), Factor: milli,
		}),
		by("latest_rtt", gauge, "Latest round-trip time, in milliseconds.", Part{
			Family: rtt, Where: only("kind", "latest"), Factor: milli,
		}),
		by("smoothed_rtt", gauge, "Smoothed round-trip time, in milliseconds.", Part{
			Family: rtt, Where: only("kind", "smoothed"), Factor: milli,
		}),
		by("mtu", gauge, "Size of the largest packets, in bytes.", Part{Family: "culvert_worker_quic_mtu_bytes"}),
		by("congestion_window", gauge, "Bytes that may be on their way.", Part{Family: "culvert_worker_quic_congestion_window_bytes"}),
		state,
		{
			Name: "quic_client_packet_too_big_dropped", Kind: counter, Help: "Payloads of origins that did not fit a packet.",
			From: of("culvert_worker_datagrams_dropped_total", "reason", "too_large"),
		},
	}
}
