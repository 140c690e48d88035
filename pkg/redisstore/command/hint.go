package command

// Publish sends a message to the subscribers of a topic; an empty one is a hint. Subscribers that are not connected at this
// moment miss it.
func Publish(topic string, message []byte) Request[Done] {
	const op = "hint"
	return Request[Done]{
		Op:      op,
		Command: Command{Args: []string{"publish", HintChannel(topic), string(message)}},
		Decode:  done(op),
	}
}
