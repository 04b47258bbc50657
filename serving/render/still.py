"""What differs from run to run in a page's scripts, and what stands in its place.

Guarantees, for a page that runs its scripts: random numbers come from one seeded generator, clocks stand still or count
the calls that ask them, workers (which have clocks of their own) and calls between browsers (which name themselves at
random) are not there, the machine says nothing of its processors and its line, and no shadow root is closed to what
brings the page to rest. Not guaranteed: blob addresses stay random, and how many animation frames and ticks of
timers a script has had by the time of the picture depends on the machine.
"""

EPOCH_MS = 1_735_689_600_000  # 2025-01-01: what a script reads from the clock
STILL = """(() => {
  let s = 123456789, calls = 0;
  const next = () => { s ^= s << 13; s ^= s >>> 17; s ^= s << 5; return s >>> 0; };
  const set = (owner, name, value) => {
    try { Object.defineProperty(owner, name, {...value, configurable: true}); } catch {}
  };
  const Real = Date;
  const Fixed = function (...given) {
    if (!new.target) return new Real(EPOCH).toString();
    return Reflect.construct(Real, given.length ? given : [EPOCH], new.target);
  };
  Object.setPrototypeOf(Fixed, Real); // parse and UTC
  Fixed.prototype = Real.prototype;
  set(Fixed, 'name', {value: 'Date'});
  set(Fixed, 'now', {value: () => EPOCH});
  set(Real.prototype, 'constructor', {value: Fixed});
  set(window, 'Date', {value: Fixed, writable: true});
  const written = Intl.DateTimeFormat.prototype;
  const format = Object.getOwnPropertyDescriptor(written, 'format').get;
  set(written, 'format', {get() {
    const plain = format.call(this);
    return at => plain(at === undefined ? EPOCH : at);
  }});
  const parts = written.formatToParts;
  set(written, 'formatToParts', {value(at) { return parts.call(this, at === undefined ? EPOCH : at); }});
  if (window.Temporal) {
    const at = zone => Temporal.Instant.fromEpochMilliseconds(EPOCH).toZonedDateTimeISO(zone ?? 'UTC');
    for (const [name, value] of Object.entries({
      instant: () => at().toInstant(), zonedDateTimeISO: at, plainDateISO: zone => at(zone).toPlainDate(),
      plainTimeISO: zone => at(zone).toPlainTime(), plainDateTimeISO: zone => at(zone).toPlainDateTime(),
    })) set(Temporal.Now, name, {value});
  }
  const pinned = (kind, values) => {
    for (const [name, value] of Object.entries(values))
      if (window[kind] && name in window[kind].prototype) {
        const known = Object.getOwnPropertyDescriptor(window[kind].prototype, name) ?? {};
        set(window[kind].prototype, name, {get: () => value, set: known.set});
      }
  };
  pinned('File', {lastModified: EPOCH, lastModifiedDate: new Fixed()});
  pinned('Animation', {startTime: 0, currentTime: 0});
  pinned('PerformanceEntry', {startTime: 0, duration: 0});
  pinned('IntersectionObserverEntry', {time: 0});
  pinned('MediaStream', {id: '0'});
  pinned('MediaStreamTrack', {id: '0'});
  pinned('Navigator', {hardwareConcurrency: 4, deviceMemory: 8, connection: undefined});
  Math.random = () => next() / 4294967296;
  const fill = array => {
    const bytes = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
    for (let i = 0; i < bytes.length; i++) bytes[i] = next() & 255;
    return array;
  };
  if (window.Crypto) {
    set(Crypto.prototype, 'getRandomValues', {value: fill});
    set(Crypto.prototype, 'randomUUID', {value: () => {
      const hex = [...fill(new Uint8Array(16))].map(b => b.toString(16).padStart(2, '0')).join('');
      return [hex.slice(0, 8), hex.slice(8, 12), '4' + hex.slice(13, 16), 'a' + hex.slice(17, 20), hex.slice(20)]
        .join('-');
    }});
  }
  set(Performance.prototype, 'now', {value: () => ++calls});
  set(Performance.prototype, 'timeOrigin', {get: () => EPOCH});
  set(Performance.prototype, 'timing', {get: () => ({})});
  set(Performance.prototype, 'memory', {get: () => undefined});
  set(Performance.prototype, 'toJSON', {value: () => ({})});
  for (const name of ['getEntries', 'getEntriesByType', 'getEntriesByName'])
    set(Performance.prototype, name, {value: () => []});
  set(AnimationTimeline.prototype, 'currentTime', {get: () => 0});
  set(IdleDeadline.prototype, 'timeRemaining', {value: () => 10});
  set(Event.prototype, 'timeStamp', {get: () => 0});
  set(Document.prototype, 'lastModified', {get: () => '01/01/2025 00:00:00'});
  for (const name of ['Worker', 'SharedWorker', 'RTCPeerConnection', 'webkitRTCPeerConnection', 'RTCCertificate'])
    set(window, name, {value: undefined});
  const frame = window.requestAnimationFrame.bind(window);
  set(window, 'requestAnimationFrame', {value: then => frame(() => then(++calls))});
  const attach = Element.prototype.attachShadow;
  set(Element.prototype, 'attachShadow', {value: function (how) { return attach.call(this, {...how, mode: 'open'}); }});
})()""".replace("EPOCH", str(EPOCH_MS))
