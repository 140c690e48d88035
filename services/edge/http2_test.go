package edge_test

import "testing"

// TestOverHTTP2 repeats the tests that do not depend on QUIC with connectors over HTTP/2.
func TestOverHTTP2(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]func(t *testing.T){
		"RegistrationRefusals":         TestRegistrationRefusals,
		"DuplicatesAndEpochs":          TestDuplicatesAndEpochs,
		"UnregisterLetsRequestsFinish": TestUnregisterLetsRequestsFinish,
		"LocalConfiguration":           TestLocalConfiguration,
		"LostConnection":               TestLostConnectionIsRetriedElsewhere,
		"PostIsNotRepeated":            TestPostIsNotRepeated,
		"DarkConnection":               TestDarkConnectionUnderLoad,
		"SlowOrigin":                   TestSlowOriginIsNotRepeated,
		"DoubtAndNoOther":              TestDoubtWithoutAnotherConnection,
		"Drain":                        TestDrain,
		"DeleteTunnel":                 TestDeleteTunnelWithConnections,
		"BodiesOfAllSizes":             TestBodiesOfAllSizes,
		"ManyAtOnce":                   TestManyAtOnce,
		"Request":                      TestRequestThroughTheTunnel,
		"BodyFraming":                  TestBodyFraming,
		"Responses":                    TestResponses,
		"BrokenResponses":              TestBrokenResponsesNeverLookComplete,
		"ErrorPages":                   TestErrorPages,
		"ErrorPageTimeout":             TestErrorPageOfAnOriginThatHangs,
		"EarlyResponse":                TestEarlyResponseDuringUpload,
		"StreamingBothWays":            TestStreamingBothWays,
		"ExpectContinue":               TestExpectContinue,
		"VisitorHangsUp":               TestVisitorHangsUp,
		"SlowReader":                   TestSlowReader,
		"VisitorWhoNeverReads":         TestVisitorWhoNeverReads,
		"StalledVisitors":              TestStalledVisitorsGiveWay,
		"VisitorWhoNeverSends":         TestVisitorWhoNeverSends,
		"WebSocket":                    TestWebSocket,
		"WebSocketRefused":             TestWebSocketRefused,
		"WebSocketHalfClose":           TestWebSocketHalfClose,
		"WebSocketHalfCloseOfOther":    TestWebSocketHalfCloseOfTheConnector,
		"WebSocketBreaks":              TestWebSocketBreaks,
		"ResponseTrailers":             TestResponseTrailers,
		"RequestTrailers":              TestRequestTrailers,
		"TrailersOnly":                 TestTrailersOnly,
		"Interim":                      TestInterimResponses,
		"Expect":                       TestExpectContinueIsPassedOn,
		"MessagesBothWays":             TestMessagesBothWays,
		"EventsWithoutDelay":           TestEventsWithoutDelay,
		"ResponseLimits":               TestResponseLimits,
		"ResponseLimitIsASetting":      TestResponseLimitIsASetting,
	} {
		t.Run(name, test)
	}
}
