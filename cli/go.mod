module github.com/culvert-tunnel/culvert/cli

go 1.26.0

require (
	github.com/culvert-tunnel/culvert/pkg v0.0.0
	github.com/culvert-tunnel/culvert/services/conn-worker v0.0.0
	github.com/culvert-tunnel/culvert/services/discovery v0.0.0
	github.com/culvert-tunnel/culvert/services/edge v0.0.0
	github.com/culvert-tunnel/culvert/services/proxy v0.0.0
	github.com/culvert-tunnel/culvert/services/supervisor v0.0.0
)

require (
	github.com/cpuguy83/go-md2man/v2 v2.0.7 // indirect
	github.com/google/go-cmp v0.7.0 // indirect
	github.com/labstack/echo/v4 v4.16.0 // indirect
	github.com/labstack/gommon v0.5.0 // indirect
	github.com/mattn/go-colorable v0.1.15 // indirect
	github.com/mattn/go-isatty v0.0.22 // indirect
	github.com/russross/blackfriday/v2 v2.1.0 // indirect
	github.com/urfave/cli/v2 v2.27.7 // indirect
	github.com/valyala/bytebufferpool v1.0.0 // indirect
	github.com/valyala/fasttemplate v1.2.2 // indirect
	github.com/xrash/smetrics v0.0.0-20240521201337-686a1a2994c1 // indirect
	go.uber.org/goleak v1.3.0 // indirect
	golang.org/x/crypto v0.58.0 // indirect
	golang.org/x/net v0.62.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
	golang.org/x/text v0.43.0 // indirect
)

replace github.com/culvert-tunnel/culvert/pkg => ../pkg

replace github.com/culvert-tunnel/culvert/services/discovery => ../services/discovery

replace github.com/culvert-tunnel/culvert/services/supervisor => ../services/supervisor

replace github.com/culvert-tunnel/culvert/services/conn-worker => ../services/conn-worker

replace github.com/culvert-tunnel/culvert/services/proxy => ../services/proxy

replace github.com/culvert-tunnel/culvert/services/edge => ../services/edge
