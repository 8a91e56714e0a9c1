package config

// validateNodes checks what several machines on one storage must share. None of
// them may need what only another one has.
func (c Config) validateNodes(s spot) {
	s.at("nodes").between(c.Nodes, 1, 100)
	if c.Nodes < 2 {
		return
	}
	if c.Storage.S3 == nil && s.known("storage", "storage.s3") {
		s.at("nodes").fail("more than one machine needs storage.s3: a file system is of one machine")
	}
	if c.HTTPSecret == "" {
		s.at("httpSecret").fail("required with nodes above 1, the same on each machine: an upload may go on at another; openssl rand -hex 32 prints one")
	}
	mode := s.at("tls").at("mode")
	switch c.TLS.Mode {
	case "internal-ca":
		if ca := c.TLS.InternalCA; ca.Certificate == "" && ca.PrivateKey == "" && s.known("tls.internalCA.certificate", "tls.internalCA.privateKey") {
			mode.fail("nodes is above 1, and each machine would have a CA of its own: use acme or files, or bring a CA with tls.internalCA.certificate and tls.internalCA.privateKey")
		}
	case "off":
		if len(c.Listen.Proxy.Trust) > 0 {
			break // which shares them out
		}
		mode.fail("nodes is above 1, and off serves this machine alone: use acme, files, internal-ca with a CA of your own, or a proxy that ends TLS (listen.proxy)")
	}
	if local := c.Cache.Type == "memory" || c.Cache.Type == "redis" && c.Cache.Redis.Address == ""; local && s.known("cache", "cache.type", "cache.redis", "cache.redis.address") {
		s.at("cache").at("type").fail("nodes is above 1, and a cache of one machine still has what another one has deleted: share a Redis with cache.redis.address, or set none")
	}
	if auth := c.TLS.ClientAuth; (auth.Mode == "optional" || auth.Mode == "required") && len(auth.CAs) == 0 {
		s.at("tls").at("clientAuth").at("cas").fail("required with nodes above 1: the machine's own client CA is of one machine")
	}
}
