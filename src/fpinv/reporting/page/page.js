"use strict";
const large = document.getElementById("large");
for (const picture of document.querySelectorAll(".zoom img")) {
  const shown = () => picture.classList.toggle("tiny", picture.naturalHeight <= 128);
  picture.complete ? shown() : picture.addEventListener("load", shown);
  picture.parentElement.addEventListener("click", () => {
    const [image, words] = [large.querySelector("img"), large.querySelector("p")];
    image.src = picture.src;
    image.alt = words.textContent = picture.alt;
    image.className = picture.className;
    large.showModal();
  });
}
large.addEventListener("click", event => { if (event.target === large) large.close(); });
