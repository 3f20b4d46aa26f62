/**
 * <stacked-alpha src="cutout.mp4" width="1920" height="1080"></stacked-alpha>
 *
 * Shows a file of vmatte's format `stacked` (colour above its matte) transparently over the page.
 *
 *   src            the file; of another origin only with `crossorigin`, and where that server allows it (CORS)
 *   width, height  the picture's own size in pixels: the clip's, not the file's. CSS gives it any other size
 *   premultiplied  the file's colours are multiplied with alpha already
 *   crossorigin    as of <video>: "anonymous" or "use-credentials"
 *   paused         does not begin by itself; call element.video.play()
 *
 * It plays without sound, in a loop; `element.video` is the <video> behind it, for anything else.
 */

const VERTEX = `
attribute vec2 corner;
uniform vec2 shown;
varying highp vec2 colourAt, matteAt;
void main() {
  vec2 at = vec2(corner.x, 1.0 - corner.y) * shown;
  colourAt = at;
  matteAt = at + vec2(0.0, 0.5);
  gl_Position = vec4(corner * 2.0 - 1.0, 0.0, 1.0);
}`;

const FRAGMENT = `
precision highp float;
uniform sampler2D film;
uniform bool premultiplied;
varying highp vec2 colourAt, matteAt;
void main() {
  vec3 colour = texture2D(film, colourAt).rgb;
  float alpha = texture2D(film, matteAt).g;
  gl_FragColor = vec4(premultiplied ? min(colour, alpha) : colour * alpha, alpha);
}`;

class StackedAlpha extends HTMLElement {
  static observedAttributes = ["src", "width", "height", "premultiplied"];

  constructor() {
    super();
    const root = this.attachShadow({ mode: "open" });
    // Not display: none, or Safari on iOS stops decoding.
    root.innerHTML = `<style>
      :host { display: inline-block; position: relative; }
      canvas { display: block; width: 100%; height: 100%; }
      video { position: absolute; width: 1px; height: 1px; opacity: 0; pointer-events: none; }
    </style><canvas></canvas>`;
    this.canvas = root.querySelector("canvas");
    this.video = document.createElement("video");
    // Safari on iOS plays by itself only what is muted and inline.
    this.video.muted = this.video.loop = this.video.playsInline = true;
    this.video.setAttribute("muted", "");
    this.video.setAttribute("playsinline", "");
    this.video.preload = "auto";
    root.append(this.video);
    for (const name of ["loadeddata", "seeked"]) this.video.addEventListener(name, () => this.draw());
    // "seeked" can come before the frame that was sought.
    this.video.addEventListener("seeking", () => this.onNextFrame(() => this.draw()));
    this.video.addEventListener("play", () => this.follow());
    this.canvas.addEventListener("webglcontextlost", event => event.preventDefault());
    this.canvas.addEventListener("webglcontextrestored", () => { this.prepare(); this.draw(); });
    this.prepare();
  }

  connectedCallback() {
    if (this.video.src && !this.hasAttribute("paused")) this.video.play().catch(() => {});
  }

  disconnectedCallback() {
    this.video.pause();
  }

  attributeChangedCallback(name, _, value) {
    if (name !== "src") {
      this.draw();
    } else if (value !== null) {
      const origin = this.getAttribute("crossorigin");
      if (origin !== null) this.video.crossOrigin = origin || "anonymous";
      this.video.src = value;
      // Refused where the user saves power: then the first frame stands until play() is called by a touch.
      if (!this.hasAttribute("paused")) this.video.play().catch(() => {});
    }
  }

  /** [width, height] of the picture, without the rows that the file has between its halves. */
  get size() {
    const given = name => Math.round(Number(this.getAttribute(name))) || 0;
    return [
      Math.min(given("width") || Infinity, this.video.videoWidth),
      Math.min(given("height") || Infinity, this.video.videoHeight / 2),
    ];
  }

  prepare() {
    const gl = this.canvas.getContext("webgl", { alpha: true, premultipliedAlpha: true, antialias: false, depth: false });
    if (!gl) throw new Error("stacked-alpha needs WebGL");
    const program = gl.createProgram();
    for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    gl.useProgram(program);
    gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ARRAY_BUFFER, new Float32Array([0, 0, 1, 0, 0, 1, 1, 1]), gl.STATIC_DRAW);
    const corner = gl.getAttribLocation(program, "corner");
    gl.enableVertexAttribArray(corner);
    gl.vertexAttribPointer(corner, 2, gl.FLOAT, false, 0, 0);
    gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE);
    // The canvas has the picture's own size: each pixel is one of the film's, and none mixes two.
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.NEAREST);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, gl.NEAREST);
    this.gl = gl;
    this.uniforms = ["shown", "premultiplied"].map(name => gl.getUniformLocation(program, name));
  }

  /** Calls when the film shows another frame; where the browser does not tell of that, when it paints next. */
  onNextFrame(call) {
    if ("requestVideoFrameCallback" in this.video) this.video.requestVideoFrameCallback(call);
    else requestAnimationFrame(call);
  }

  /** Draws each frame once while the film plays. */
  follow() {
    const turn = (this.turn = (this.turn || 0) + 1);
    const step = () => {
      if (turn !== this.turn) return;
      this.draw();
      if (!this.video.paused && !this.video.ended) this.onNextFrame(step);
    };
    this.onNextFrame(step);
  }

  draw() {
    const { gl, video, canvas } = this;
    if (video.readyState < 2 || gl.isContextLost()) return;
    const [width, height] = this.size;
    if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
    gl.viewport(0, 0, width, height);
    // The browser turns the film's codes into RGB, by the matrix and range that the file is tagged with.
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, video);
    gl.uniform2f(this.uniforms[0], width / video.videoWidth, height / video.videoHeight);
    gl.uniform1i(this.uniforms[1], this.hasAttribute("premultiplied") ? 1 : 0);
    gl.drawArrays(gl.TRIANGLE_STRIP, 0, 4);
    this.dispatchEvent(new Event("drawn"));
  }
}

customElements.define("stacked-alpha", StackedAlpha);
