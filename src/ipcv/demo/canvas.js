// Draws with the pointer; the value of the part is the drawing as a data URL, empty without one.
const canvas = element.querySelector("canvas");
const pen = canvas.getContext("2d");

function clear() {
  pen.fillStyle = "white";
  pen.fillRect(0, 0, canvas.width, canvas.height);
  props.value = "";
}

function lineTo(event) {
  const scale = canvas.width / canvas.clientWidth;
  pen.lineTo(event.offsetX * scale, event.offsetY * scale);
  pen.stroke();
}

canvas.addEventListener("pointerdown", (event) => {
  canvas.setPointerCapture(event.pointerId);
  Object.assign(pen, { lineWidth: 12, lineCap: "round", lineJoin: "round" });
  pen.strokeStyle = element.querySelector("input").value;
  pen.beginPath();
  lineTo(event);
});
canvas.addEventListener("pointermove", (event) => event.buttons && lineTo(event));
canvas.addEventListener("pointerup", () => (props.value = canvas.toDataURL("image/png")));
element.querySelector("button").addEventListener("click", clear);
clear();
