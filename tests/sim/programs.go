package sim

// product is the programs of the product.
func product() *Programs {
	return &Programs{Worker: newWorker, Supervisor: newSupervisor, Discovery: newDiscovery}
}
