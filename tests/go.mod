module github.com/culvert-tunnel/culvert/tests

go 1.26.0

require (
	github.com/culvert-tunnel/culvert/cli v0.0.0
	github.com/culvert-tunnel/culvert/pkg v0.0.0
	github.com/culvert-tunnel/culvert/services/conn-worker v0.0.0
	github.com/culvert-tunnel/culvert/services/discovery v0.0.0
	github.com/culvert-tunnel/culvert/services/edge v0.0.0
	github.com/culvert-tunnel/culvert/services/proxy v0.0.0
	github.com/culvert-tunnel/culvert/services/supervisor v0.0.0
)

require github.com/google/go-cmp v0.7.0 // indirect

replace github.com/culvert-tunnel/culvert/pkg => ../pkg

replace github.com/culvert-tunnel/culvert/services/discovery => ../services/discovery

replace github.com/culvert-tunnel/culvert/services/supervisor => ../services/supervisor

replace github.com/culvert-tunnel/culvert/services/conn-worker => ../services/conn-worker

replace github.com/culvert-tunnel/culvert/services/proxy => ../services/proxy

replace github.com/culvert-tunnel/culvert/services/edge => ../services/edge

replace github.com/culvert-tunnel/culvert/cli => ../cli
