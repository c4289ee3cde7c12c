mod asking;
mod cache;
