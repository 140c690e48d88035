module github.com/culvert-tunnel/culvert/services/proxy

go 1.26.0

require github.com/culvert-tunnel/culvert/pkg v0.0.0

replace github.com/culvert-tunnel/culvert/pkg => ../../pkg
