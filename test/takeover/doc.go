// Package takeover holds that the registry takes over the storage of a stock one, of
// version 2 or 3, as it lies, and that a stock one takes it over again.
package takeover
