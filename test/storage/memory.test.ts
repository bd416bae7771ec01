import { memoryStorage } from '../../src/storage/memory.ts';
import { storageLaws } from './conformance.ts';

storageLaws('memory', async () => memoryStorage());
