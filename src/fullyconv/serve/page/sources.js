// Where photographs come from: dropped, pasted, chosen, a sample, the camera.

import { get } from "./server.js";

/** Every way ends in take(blob, name). */
export function listen(take, fail) {
  const file = document.getElementById("file");
  const choose = (capture) => {
    file.toggleAttribute("capture", capture);
    file.click();
  };
  file.onchange = () => {
    if (file.files[0]) take(file.files[0], file.files[0].name);
    file.value = ""; // so that the same file can be chosen again
  };
  listenToDrops(take, fail);
  document.addEventListener("paste", (event) => {
    const pasted = event.clipboardData?.files[0];
    if (pasted) take(pasted, pasted.name || "pasted");
  });
  // a browser has no camera for a page from http://elsewhere; a phone then opens its own
  const inPage = Boolean(navigator.mediaDevices?.getUserMedia);
  const ways = { pick: () => choose(false), camera: () => (inPage ? openCamera(take, fail) : choose(true)) };
  for (const button of document.querySelectorAll("[data-do=pick], [data-do=camera]"))
    button.onclick = ways[button.dataset.do];
  listSamples(take, fail);
}

function listenToDrops(take, fail) {
  let depth = 0; // of the elements entered and not left yet
  const mark = (change) => {
    depth = Math.max(0, depth + change);
    document.body.classList.toggle("dropping", depth > 0);
  };
  const isFile = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  addEventListener("dragenter", (event) => isFile(event) && mark(1));
  addEventListener("dragleave", (event) => isFile(event) && mark(-1));
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    mark(-depth);
    const dropped = event.dataTransfer.files[0];
    if (dropped) take(dropped, dropped.name);
    else fail(new Error("What was dropped is not a file. Save the picture, then drop the file."));
  });
}

async function openCamera(take, fail) {
  const dialog = document.getElementById("shutter");
  const video = dialog.querySelector("video");
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({
      video: { facingMode: "environment", width: { ideal: 1920 } },
    });
  } catch (error) {
    fail(new Error(`The camera cannot be used: ${error.message}.`));
    return;
  }
  video.srcObject = stream;
  dialog.onclose = () => stream.getTracks().forEach((track) => track.stop());
  dialog.querySelector("[data-do=close]").onclick = () => dialog.close();
  dialog.querySelector("[data-do=take]").onclick = () => {
    const canvas = new OffscreenCanvas(video.videoWidth, video.videoHeight);
    canvas.getContext("2d").drawImage(video, 0, 0);
    dialog.close();
    canvas.convertToBlob({ type: "image/jpeg", quality: 0.95 }).then((blob) => take(blob, "camera"));
  };
  dialog.showModal();
  await video.play();
}

async function listSamples(take, fail) {
  const list = document.getElementById("samples");
  try {
    const samples = await (await get("samples")).json();
    for (const { name, title, credit } of samples) {
      const item = document.createElement("li");
      item.innerHTML = "<button><img alt=''><span></span></button><small></small>";
      item.querySelector("img").src = `samples/${encodeURIComponent(name)}`;
      item.querySelector("span").textContent = title;
      item.querySelector("small").textContent = credit;
      item.querySelector("button").onclick = () =>
        get(`samples/${encodeURIComponent(name)}`)
          .then((response) => response.blob())
          .then((blob) => take(blob, name))
          .catch(fail);
      list.append(item);
    }
  } catch (error) {
    fail(error);
  }
}
