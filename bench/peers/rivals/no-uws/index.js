throw new Error('deepstream runs without its native HTTP server here');
