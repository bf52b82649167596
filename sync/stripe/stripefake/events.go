package stripefake

import (
	"path"
	"reflect"
	"slices"
	"strings"
	"time"
)

// emit records an event with the object as it is now, and has it delivered.
func (f *Fake) emit(kind string, o, previous object) {
	data := object{"object": clone(o)}
	if len(previous) > 0 {
		data["previous_attributes"] = previous
	}
	event := f.make("event", "evt").set(object{
		"type": kind, "api_version": f.cfg.Version, "data": data, "livemode": false,
		"request": object{"id": nil, "idempotency_key": orNil(f.key)},
	})
	var interested int64
	for _, e := range f.endpoints {
		if !e.wants(kind) {
			continue
		}
		interested++
		f.enqueue(event, e)
	}
	event["pending_webhooks"] = interested
}

// emitUpdate records a change, if there was one, with what the changed fields were before.
func (f *Fake) emitUpdate(kind string, o, before object) {
	previous := object{}
	for key, value := range before {
		if !reflect.DeepEqual(value, o[key]) {
			previous[key] = value
		}
	}
	if len(previous) > 0 {
		f.emit(kind, o, previous)
	}
}

// eventLife is how long Stripe lists events.
const eventLife = 30 * 24 * time.Hour

func (f *Fake) getEvent(c *call) (object, *Error) {
	event, err := f.find("event", c.id, "id")
	if err == nil && f.now()-event.num("created") > int64(eventLife.Seconds()) {
		return nil, missing("event", c.id, "id")
	}
	return event, err
}

// mostKinds is how many types the list of events can be asked for.
const mostKinds = 20

func (f *Fake) listEvents(c *call) (object, *Error) {
	kind, kinds := c.str("type"), c.strs("types")
	undelivered, byDelivery := !c.yes("delivery_success"), c.sent("delivery_success")
	if kind != "" && len(kinds) > 0 {
		c.complain(invalid("", "types", "You may only specify one of these parameters: type, types."))
	}
	if len(kinds) > mostKinds {
		c.complain(invalid("", "types", "You may only specify up to %d types.", mostKinds))
	}
	if kind != "" {
		kinds = []string{kind}
	}
	oldest := f.time().Add(-eventLife).Unix()
	return f.page(c, "event", func(o object) bool {
		if o.num("created") < oldest || byDelivery && (o.num("pending_webhooks") > 0) != undelivered {
			return false
		}
		return len(kinds) == 0 || slices.ContainsFunc(kinds, func(pattern string) bool { return kindMatches(pattern, o.str("type")) })
	})
}

// kindMatches applies Stripe's patterns of event types: a name, or one with an asterisk.
func kindMatches(pattern, kind string) bool {
	if pattern == "*" || pattern == kind {
		return true
	}
	matched, err := path.Match(strings.ReplaceAll(pattern, ".", "/"), strings.ReplaceAll(kind, ".", "/"))
	return err == nil && matched
}

func (f *Fake) createEndpoint(c *call) (object, *Error) {
	address, kinds := c.need("url"), c.strs("enabled_events")
	if len(kinds) == 0 {
		c.complain(c.missing("enabled_events"))
	}
	version, description, metadata := c.str("api_version"), c.str("description"), c.texts("metadata")
	c.yes("connect")
	if err := c.check(); err != nil {
		return nil, err
	}
	if _, err := time.Parse(time.DateOnly, version); version != "" && err != nil {
		return nil, invalid("", "api_version", "Invalid API version: %s", version)
	}
	made := f.newEndpoint(address, "whsec_"+f.random(32), kinds)
	made.set(object{"api_version": orNil(version), "description": orNil(description), "metadata": meta(metadata)})
	f.endpoints[len(f.endpoints)-1].version = version
	shown := clone(made)
	shown["secret"] = f.endpoints[len(f.endpoints)-1].secret // Stripe shows it this once
	return shown, nil
}

// newEndpoint makes an endpoint that gets events of the account's version.
func (f *Fake) newEndpoint(address, secret string, kinds []string) object {
	made := f.make("webhook_endpoint", "we").set(object{
		"url": address, "enabled_events": anys(kinds), "api_version": f.cfg.Version, "status": "enabled", "livemode": false,
	})
	f.endpoints = append(f.endpoints, &endpoint{id: made.id(), url: address, secret: secret, kinds: kinds})
	return made
}

// AddEndpoint has webhooks delivered to an address, signed with a secret (whsec_...); only those of some types if any
// are named. It returns the endpoint's id.
func (f *Fake) AddEndpoint(url, secret string, types ...string) string {
	if len(types) == 0 {
		types = []string{"*"}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.newEndpoint(url, secret, types).id()
}

// SetEndpointVersion has an endpoint's events carry another API version, as those of an endpoint that was made for
// another one do. What is in them stays as it is.
func (f *Fake) SetEndpointVersion(id, version string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range f.endpoints {
		if e.id == id {
			e.version = version
			f.objects[id]["api_version"] = orNil(version)
		}
	}
}

func (f *Fake) getEndpoint(c *call) (object, *Error) { return f.find("webhook_endpoint", c.id, "id") }

func (f *Fake) listEndpoints(c *call) (object, *Error) {
	return f.page(c, "webhook_endpoint", func(object) bool { return true })
}

func (f *Fake) updateEndpoint(c *call) (object, *Error) {
	fields, kinds := object{}, c.strs("enabled_events")
	for _, name := range []string{"url", "description"} {
		if c.sent(name) {
			fields[name] = orNil(c.str(name))
		}
	}
	if c.sent("disabled") {
		fields["status"] = "enabled"
		if c.yes("disabled") {
			fields["status"] = "disabled"
		}
	}
	metadata := c.texts("metadata")
	if len(kinds) > 0 {
		fields["enabled_events"] = anys(kinds)
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	o, err := f.find("webhook_endpoint", c.id, "id")
	if err != nil {
		return nil, err
	}
	o.set(fields)
	mergeMeta(o, metadata)
	for _, e := range f.endpoints {
		if e.id == c.id {
			e.url, e.disabled = o.str("url"), o.str("status") == "disabled"
			if len(kinds) > 0 {
				e.kinds = kinds
			}
		}
	}
	return o, nil
}

func (f *Fake) deleteEndpoint(c *call) (object, *Error) {
	o, err := f.find("webhook_endpoint", c.id, "id")
	if err != nil {
		return nil, err
	}
	f.drop("webhook_endpoint", o.id())
	f.endpoints = slices.DeleteFunc(f.endpoints, func(e *endpoint) bool { return e.id == o.id() })
	return object{"id": o.id(), "object": "webhook_endpoint", "deleted": true}, nil
}
