"""What differs from run to run in a page's scripts, and what stands in its place.

Guarantees, for a page that runs its scripts: random numbers come from one seeded generator, clocks stand still or count
the calls that ask them, workers (which have clocks of their own) are not there, and no shadow root is closed to what
brings the page to rest. Not guaranteed: blob addresses stay random, and how many animation frames a script has had by
the time of the picture depends on the machine.
"""

EPOCH_MS = 1_735_689_600_000  # 2025-01-01: what a script reads from the clock
STILL = """(() => {
  let s = 123456789, calls = 0;
  const next = () => { s ^= s << 13; s ^= s >>> 17; s ^= s << 5; return s >>> 0; };
  const set = (owner, name, value) => {
    try { Object.defineProperty(owner, name, {...value, configurable: true}); } catch {}
  };
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
  for (const owner of [Performance.prototype, performance]) { // Playwright's clock puts an object of its own there
    set(owner, 'now', {value: () => ++calls});
    set(owner, 'timeOrigin', {get: () => EPOCH});
    set(owner, 'timing', {get: () => ({})});
    set(owner, 'memory', {get: () => undefined});
    for (const name of ['getEntries', 'getEntriesByType', 'getEntriesByName']) set(owner, name, {value: () => []});
  }
  set(AnimationTimeline.prototype, 'currentTime', {get: () => 0});
  set(Event.prototype, 'timeStamp', {get: () => 0});
  set(Document.prototype, 'lastModified', {get: () => '01/01/2025 00:00:00'});
  for (const name of ['Worker', 'SharedWorker']) set(window, name, {value: undefined});
  const frame = window.requestAnimationFrame.bind(window);
  set(window, 'requestAnimationFrame', {value: then => frame(() => then(++calls))});
  const attach = Element.prototype.attachShadow;
  set(Element.prototype, 'attachShadow', {value: function (how) { return attach.call(this, {...how, mode: 'open'}); }});
})()""".replace("EPOCH", str(EPOCH_MS))
